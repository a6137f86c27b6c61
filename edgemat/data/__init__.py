"""Faces, occluders and the composites that train and test a face-matting network."""
