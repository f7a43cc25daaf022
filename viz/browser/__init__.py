"""The page of `twin ui`: a running twin, a finished run or two runs, in the browser of the same machine."""
