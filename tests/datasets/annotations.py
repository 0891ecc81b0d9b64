"""Parts of an annotation file."""

OBJECT = 'angle: [0, 0, 0], center: [0, 0, 0], extent: [2, 1, 1], location: [{}, 0, 0]'
HEAD = 'lidar_pose: [0, 0, 1.9, 0, 0, 0]\n'
