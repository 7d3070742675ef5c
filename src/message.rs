//! HTTP fields as pure functions: what is read from a request, and what is taken out and put in before it goes on.

pub mod authority;
pub mod certificate_names;
pub mod client_address;
pub mod forwarded;
pub mod framing;
pub mod hop_by_hop;
pub mod identity;
pub mod kind;
pub mod list;
pub mod method_override;
pub mod origin;
pub mod path;
pub mod referer;
pub mod request_id;
pub mod rewrite;
pub mod screen;
pub mod session_cookie;
pub mod trailers;
