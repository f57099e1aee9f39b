//! State transfer: blocks in order, exactly once, and how the late catch up.
