//! What one configuration makes of the gateway.

use std::sync::Arc;

use super::{BackOffice, Site};
use crate::access_log::AccessLog;
use crate::metrics::Metrics;
use crate::proxy::Applications;
use crate::traces::Traces;

/// All that a reload replaces at once: no request sees half of one configuration and half of another.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Who may pass where.
    pub site: Arc<Site>,
    /// What lies behind the routes.
    pub applications: Applications,
    /// What is rare and slow.
    pub office: BackOffice,
    /// Where requests are written down, if they are.
    pub access_log: Option<AccessLog>,
    /// Who is told how requests go.
    pub traces: Traces,
    /// Where requests are counted.
    pub metrics: Metrics,
}
