from turbotrain.simulation import SensorOptions, SetOptions

# A four-way intersection and a corridor, 4 s each.
TINY = SetOptions(
    seed=3,
    intersections=(1, 0, 0),
    corridors=(0, 0, 1),
    sensors=SensorOptions(duration=4.0, beam_step=4, azimuth_step=12),
)
