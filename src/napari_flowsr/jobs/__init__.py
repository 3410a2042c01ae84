"""Work of hours: tasks that survive a kill, here or on a cluster."""
