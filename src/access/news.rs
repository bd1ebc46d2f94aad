//! What nodes of a cluster tell each other of keys and tenants.
//!
//! Whoever changes a key or a tenant tells the others, so that they forget what they remember of it and end
//! what it holds open. That may be lost: then what is remembered of a key ends with `keys.cache_for`, and
//! tenants are looked at every few seconds (`tenant.rs`).

use std::sync::{Arc, Weak};

use roost_actors::cluster::{Listener, News};
use roost_domain::{ApiKeyId, TenantId};

use super::cache::Whose;
use super::{Access, Inner};

/// Hears news for as long as there is somebody to tell.
struct Ear(Weak<Inner>);

impl Listener for Ear {
    fn told(&self, news: News) {
        if let Some(inner) = self.0.upgrade() {
            Access(inner).hear(&news);
        }
    }
}

impl Access {
    pub(super) fn listen(&self) {
        self.0.runtime.listen(Arc::new(Ear(Arc::downgrade(&self.0))));
    }

    /// A key was changed here, or may have been.
    pub(super) fn key_changed(&self, key: ApiKeyId, ends: bool) {
        self.announce(&News::KeyChanged { key, ends });
    }

    /// A tenant was changed here, or may have been: `turned` says that its state was.
    pub(super) fn tenant_changed(&self, tenant: TenantId, turned: bool) {
        self.announce(&News::TenantChanged { tenant, turned });
    }

    fn announce(&self, news: &News) {
        self.forget(news);
        self.0.runtime.tell(news);
    }

    fn hear(&self, news: &News) {
        self.forget(news);
        if let News::TenantChanged { tenant, turned: true } = news {
            self.begin_settling(*tenant);
        }
    }

    /// Acts on news, whoever has it.
    fn forget(&self, news: &News) {
        let (whose, ends) = match *news {
            News::KeyChanged { key, ends } => (Whose::Key(key), ends),
            News::TenantChanged { tenant, turned } => (Whose::Tenant(tenant), turned),
            News::Committed { .. } => return,
        };
        if ends {
            self.withdraw(whose);
        } else {
            self.0.cache.forget(whose);
        }
    }
}
