//! The nouns every other module speaks in. Nothing here does I/O.

mod chunk;
mod current;
mod follow;
mod generation;
mod html;
mod kind;
mod printable;
mod secret;
mod tenant_id;

pub use crate::machine::UnixMillis;
pub use chunk::Chunk;
pub use current::Current;
pub use follow::{Fate, Follow};
pub use generation::Generation;
pub use html::escape_html;
pub use kind::{Encoding, Endpoint, Framing, HostRole, Kind, Limits};
pub use printable::{is_unprintable, printable};
pub use secret::{Secret, redacted};
pub use tenant_id::{InvalidTenantId, TenantId};
