//! The model keeps every promise that it is to judge others by.

use std::sync::Arc;

use posthaste_core::port::Store;
use posthaste_core::time::WallMs;
use posthaste_testkit::conformance::{Capabilities, Ending, Fixture};
use posthaste_testkit::model::ModelStore;

pub(crate) struct OfModel(ModelStore);

pub(crate) fn model() -> OfModel {
    OfModel(ModelStore::at(WallMs(1_700_000_000_000)))
}

impl Fixture for OfModel {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.0.clone())
    }

    fn reopen(&self, store: Arc<dyn Store>, ending: Ending) -> Option<Arc<dyn Store>> {
        self.0.restart(ending == Ending::Clean);
        Some(store)
    }

    fn advance(&self, ms: u64) {
        self.0.advance(ms);
    }

    fn set_wall(&self, wall: WallMs) {
        self.0.set_wall(wall);
    }

    fn wall(&self) -> WallMs {
        self.0.wall()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            restart: true,
            chosen_ids: true,
            local_leases: true,
            undoes_leases: true,
        }
    }
}

posthaste_testkit::conformance_tests!(crate::conformance::model, restarts);
