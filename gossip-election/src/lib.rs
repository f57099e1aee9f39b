//! Leader election among the peers of one organisation in one channel.
