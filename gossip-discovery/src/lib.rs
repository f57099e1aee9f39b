//! Membership: who is alive, told by signed records and hash-chain beats.
