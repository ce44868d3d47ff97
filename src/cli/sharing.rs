//! Options by which runs share their work, and what they make of stores.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use egofx::claims::{ClaimError, Claims, Pulse, Steal, Terms};
use egofx::feature_set::PerSet;
use egofx::pipeline::{ActivityWatch, Control, Shared, Sharing, Tally};
use egofx::places::ShardOption;
use egofx::shard::Shard;
use egofx::store::Store;

/// How the parts of a plan share its work.
#[derive(Args)]
pub struct SharingOptions {
    /// Whether a run that has done its part takes videos of other parts that nobody is at, longest first.
    ///
    /// `auto`: with --shard auto, as `seen`; else never. Whoever is at a video says so in a claim, a file with a heartbeat; no locks are needed for that. Not for parts whose folders are not the same: each would do all of it.
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    steal: When,
    /// Seconds after which a run whose heartbeat is not seen any more is taken for dead, and its videos are taken over. If it was not,
    /// they are computed twice and stored once. Less than 60 is not for network file systems. A run that has died on the same machine
    /// is not waited for.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    claim_limit: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum When {
    /// With --shard auto, once another part was at work in this folder.
    Auto,
    /// Once another part was at work in this folder.
    Seen,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl SharingOptions {
    /// The terms on which a run of part `shard` shares; `None` where there is only one part.
    pub fn terms(&self, shard: &ShardOption) -> Option<Terms> {
        let steal = match self.steal {
            When::Auto if shard.by.is_some() => Steal::OnceSeen,
            When::Seen => Steal::OnceSeen,
            When::Always => Steal::Always,
            When::Auto | When::Never => Steal::Never,
        };
        (shard.shard.count() > 1).then(|| Terms { steal, limit: self.limit() })
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(self.claim_limit)
    }

    /// What a run of part `shard` shares by way of its `stores`; `None` where there is only one part.
    ///
    /// # Errors
    /// [`ClaimError`]: a store's folder is not fit for claims.
    pub fn of(&self, stores: &PerSet<Store>, shard: &ShardOption) -> Result<Option<Sharing>, ClaimError> {
        let Some(terms) = self.terms(shard) else { return Ok(None) };
        let shared = |store: &Store| Ok(Shared::new(Claims::on(terms, &store.claims())?, store.watch()));
        Ok(Some(Sharing::new(stores.try_map(shared)?, terms.steal)))
    }

    /// Tells beside each of the `stores`, for `egofx status`, how the run of part `shard` is that `control` holds.
    pub fn pulses(
        &self,
        stores: &PerSet<Store>,
        shard: Shard,
        control: &Arc<Control>,
        tally: Option<Tally>,
    ) -> Vec<Pulse> {
        let pulse = |store: &Store| {
            let mut watch = ActivityWatch::new(control, tally.clone());
            Pulse::begin(&store.claims(), &shard.stem(), self.limit(), move || watch.look())
        };
        let begun = stores.values().map(pulse);
        begun.filter_map(|pulse| pulse.inspect_err(|error| log::warn!("{error}")).ok()).collect()
    }
}
