//! What all requests share.

use crate::auth::jwt::Keys;
use crate::base::memory_plan::MemoryPlan;
use crate::config::Settings;
use std::fmt;
use std::sync::Arc;

/// What all requests share until the settings are reloaded.
pub struct Context {
    /// The settings.
    pub settings: Settings,
    /// The budgets of memory, which a reload does not change.
    pub memory: MemoryPlan,
    /// The keys that sign and verify tokens.
    pub keys: Keys,
    /// The journal's name, which a restore changes.
    pub epoch: Arc<str>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
