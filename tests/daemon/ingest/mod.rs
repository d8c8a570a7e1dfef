//! The local HTTP port over real sockets, with a stand-in for the queue behind it.

mod answers;
mod connections;
mod item_by_item;
mod limits;
mod port;
mod rates;
mod tenants;
