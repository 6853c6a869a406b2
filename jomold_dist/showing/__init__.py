"""Pictures for people: timelines of videos, the report of a run, the report on its labels, each as one page that opens
without a network. What is shown was computed elsewhere, or is what a network says of a video."""
