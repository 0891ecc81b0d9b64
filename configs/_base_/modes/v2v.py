# Mode v2v: a vehicle is the ego and hears vehicles; the corridor scenarios count at test, too.
mode = dict(dataset=dict(mode='v2v'))
