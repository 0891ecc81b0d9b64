# Mode i2i: a roadside unit is the ego and hears roadside units.
mode = dict(dataset=dict(mode='i2i'))
