//! The OAuth flow against the stand-in, as customers, hosts that share a store, and attackers go through it.

mod binding;
mod connecting;
mod crashes;
mod daemon;
mod harness;
mod hostile;
mod keys;
mod leaving;
mod pages;
mod proof;
mod refreshing;
mod secrecy;
