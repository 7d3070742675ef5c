//! The phone library's tables: read when the first person comes to sign in, and not before. A gateway where everybody
//! has a session does without their 8 MB.

use tokio::sync::OnceCell;

use super::SignIn;
use crate::domain::phone;

static READ: OnceCell<()> = OnceCell::const_new();

impl SignIn {
    /// Somebody is about to say who they are: the tables are read while they type.
    pub fn expect_somebody(&self) {
        if !READ.initialized() {
            tokio::spawn(read());
        }
    }
}

/// Has the tables read, and waits for it.
pub(super) async fn read() {
    let read = async || {
        if let Err(error) = tokio::task::spawn_blocking(phone::read_tables).await {
            tracing::warn!(%error, "the phone library's tables were not read ahead");
        }
    };
    READ.get_or_init(read).await;
}
