//! The whole peer: push, pull and channels over the layers below, and the `gossip-peer` daemon.
