//! Frames as they stand on terminals of several sizes.
