# Mode ic: a roadside unit is the ego and hears roadside units and vehicles.
# A config of a mode inherits its method's config of mode vc and gives `mode` to all data loaders;
# it trains in the mode it is tested in (our choice: V2X-Real trains with any agent as the ego).
mode = dict(dataset=dict(mode='ic'))
