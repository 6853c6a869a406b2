"""What a data set holds, for who looks at it: numbers of the set and of one video, and both as text. Nothing is judged
(that is checking), nothing is changed, and no torch."""
