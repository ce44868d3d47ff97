//! Distributed data-parallel training: processes that hold the same weights, each on its share of every batch.
//!
//! Not for how they were launched, see [`launch`]. Invariant: all ranks hold the same weights after every step, and every
//! rank makes the same calls in the same order. A process on its own is a world of one, for which each of these is free.

pub mod launch;

use std::net::ToSocketAddrs;

use egofx::compat::Compat;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::{Device, Kind, Tensor, no_grad};

use crate::error::TrainError;
use crate::native::{NativeError, ProcessGroup, Reducer};

use launch::Launch;

/// Bytes of gradients that travel together, as in torch's DistributedDataParallel.
const BUCKET_BYTES: i64 = 25 << 20;

/// All ranks, as seen by one of them.
pub struct World {
    place: Place,
    group: Option<ProcessGroup>,
}

/// By what tensors on GPUs travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// NCCL, one GPU for each rank.
    Nccl,
    /// Gloo, by way of the CPU.
    Gloo,
}

impl Backend {
    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nccl => "NCCL",
            Self::Gloo => "gloo",
        }
    }
}

impl World {
    /// A process on its own.
    pub fn single() -> Self {
        Self { place: Place { rank: 0, size: 1 }, group: None }
    }

    /// Waits until all ranks of a launch have come.
    ///
    /// # Errors
    /// [`TrainError::Rank`]: some have not come in time, or the host or port is no good. A name that nobody knows is told
    /// within seconds.
    pub fn join(launch: &Launch, backend: Backend) -> Result<Self, TrainError> {
        let rendezvous = &launch.rendezvous;
        let (rank, size) = (rendezvous.rank as usize, rendezvous.size as usize);
        let fails = |why: String| TrainError::Rank { rank, size, why };
        resolve(&rendezvous.host, rendezvous.port).map_err(&fails)?;
        let group = ProcessGroup::join(rendezvous, backend == Backend::Nccl);
        let world = |group| Self { place: Place { rank, size }, group: Some(group) };
        group.map(world).map_err(|cause| {
            fails(format!("the others were not met at {}:{}: {cause}", rendezvous.host, rendezvous.port))
        })
    }

    /// The place of this rank.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Whether this is rank 0, which writes files and speaks to people.
    pub fn is_rank0(&self) -> bool {
        self.place.rank == 0
    }

    fn lost(&self, cause: NativeError) -> TrainError {
        self.fails(format!("another rank has gone, or does something else: {cause}"))
    }

    fn fails(&self, why: String) -> TrainError {
        TrainError::Rank { rank: self.place.rank, size: self.place.size, why }
    }

    /// What makes the gradients of these weights, which all require one, means over all ranks.
    ///
    /// # Errors
    /// [`TrainError::Rank`], as for all that follows.
    pub fn gradients(&self, weights: &[Tensor]) -> Result<Gradients<'_>, TrainError> {
        let reducer = self.group.as_ref().map(|group| Reducer::new(group, weights, BUCKET_BYTES)).transpose();
        Ok(Gradients { world: self, reducer: reducer.map_err(|cause| self.fails(cause.to_string()))? })
    }

    /// Sums over all ranks.
    ///
    /// # Errors
    /// [`TrainError::Rank`].
    pub fn all_reduce_sum(&self, values: &[f64]) -> Result<Vec<f64>, TrainError> {
        let Some(group) = &self.group else { return Ok(values.to_vec()) };
        let mut tensor = Tensor::from_slice(values);
        group.all_reduce(&mut tensor).map_err(|cause| self.lost(cause))?;
        Ok(Vec::<f64>::try_from(tensor)?)
    }

    /// Makes tensors what they are on rank 0.
    ///
    /// # Errors
    /// [`TrainError::Rank`].
    pub fn broadcast(&self, tensors: &[Tensor]) -> Result<(), TrainError> {
        let Some(group) = &self.group else { return Ok(()) };
        group.broadcast(tensors).map_err(|cause| self.lost(cause))
    }

    /// Rows `[n, ...]` of all ranks as `[ranks n, ...]`. The gradient reaches the rank's own rows only, and is averaged over
    /// ranks with all others: for a loss over all rows that leaves the true gradient divided by the number of ranks, as in
    /// the original ([`Compat::AsReleased`]); [`Compat::Fixed`] gives the true one.
    ///
    /// # Errors
    /// [`TrainError::Rank`].
    pub fn all_gather(&self, rows: &Tensor, compat: Compat) -> Result<Tensor, TrainError> {
        let Some(group) = &self.group else { return Ok(rows.shallow_clone()) };
        let all = group.all_gather(rows).map_err(|cause| self.lost(cause))?;
        let count = rows.size()[0];
        let first = self.place.rank as i64 * count;
        let own = match compat {
            Compat::AsReleased => rows.shallow_clone(),
            // Adds nothing to the values, and to the gradient what averaging will take away.
            Compat::Fixed if rows.requires_grad() => rows.detach() + (rows - rows.detach()) * self.place.size as f64,
            Compat::Fixed => rows.shallow_clone(),
        };
        let parts = [all.narrow(0, 0, first), own, all.narrow(0, first + count, all.size()[0] - first - count)];
        Ok(Tensor::cat(&parts, 0))
    }

    /// What each rank has, in the order of the ranks.
    ///
    /// # Errors
    /// [`TrainError::Rank`].
    pub fn all_gather_object<T: Serialize + DeserializeOwned>(&self, own: Vec<T>) -> Result<Vec<Vec<T>>, TrainError> {
        let Some(group) = &self.group else { return Ok(vec![own]) };
        let broken = |error: postcard::Error| self.fails(format!("predictions cannot be sent: {error}"));
        let bytes = postcard::to_stdvec(&own).map_err(broken)?;
        let gather = |tensor: &Tensor| group.all_gather(tensor).map_err(|cause| self.lost(cause));
        let lengths = Vec::<i64>::try_from(gather(&Tensor::from_slice(&[bytes.len() as i64]))?)?;
        // Tensors that are gathered have one length.
        let longest = lengths.iter().copied().max().unwrap_or_default().max(1);
        let padded = Tensor::zeros([longest], (Kind::Uint8, Device::Cpu));
        no_grad(|| padded.narrow(0, 0, bytes.len() as i64).copy_(&Tensor::from_slice(&bytes)));
        let all = Vec::<u8>::try_from(gather(&padded)?)?;
        let parts = all.chunks_exact(longest as usize).zip(lengths);
        parts.map(|(part, length)| postcard::from_bytes(&part[..length as usize]).map_err(broken)).collect()
    }

    /// Runs `act` on rank 0 while the others wait. Fails on all ranks if it fails.
    ///
    /// # Errors
    /// What `act` says on rank 0; [`TrainError::Rank`] on the others.
    pub fn on_rank0(&self, act: impl FnOnce() -> Result<(), TrainError>) -> Result<(), TrainError> {
        let done = if self.is_rank0() { act() } else { Ok(()) };
        let failures = self.all_reduce_sum(&[if done.is_err() { 1.0 } else { 0.0 }])?;
        let failed = || self.fails("rank 0 has failed".to_owned());
        done.and_then(|()| if failures[0] > 0.0 { Err(failed()) } else { Ok(()) })
    }
}

/// Means of gradients over all ranks, which are reckoned while the backward pass is still at others: when all of a bucket of some
/// [`BUCKET_BYTES`] are there, they travel. The first pass only notes in which order they come. For a process on its own each of
/// these is free.
pub struct Gradients<'w> {
    world: &'w World,
    reducer: Option<Reducer<'w>>,
}

impl Gradients<'_> {
    /// The backward pass that comes is the last one before the step: its gradients are final. Until [`Gradients::average`] there
    /// must be no other call between ranks.
    ///
    /// # Errors
    /// [`TrainError::Rank`].
    pub fn begin(&self) -> Result<(), TrainError> {
        self.each(|reducer| reducer.begin())
    }

    /// Waits until the gradients are means over all ranks. One that is missing on some counts as zeros there.
    ///
    /// # Errors
    /// [`TrainError::Rank`].
    pub fn average(&self) -> Result<(), TrainError> {
        self.each(|reducer| reducer.finish(1.0 / self.world.place.size as f64))
    }

    fn each(&self, act: impl Fn(&Reducer<'_>) -> Result<(), NativeError>) -> Result<(), TrainError> {
        self.reducer.as_ref().map_or(Ok(()), act).map_err(|cause| self.world.lost(cause))
    }
}

/// Times that a name is looked up, a second apart: a cluster's name server may be as late as its nodes.
const LOOKUPS: u32 = 5;

/// Whether anybody knows `host`; libtorch would go on asking until the time for all ranks to come is over.
fn resolve(host: &str, port: u16) -> Result<(), String> {
    let mut last = String::new();
    for lookup in 0..LOOKUPS {
        if lookup > 0 {
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
        match (host, port).to_socket_addrs().map(|mut addresses| addresses.next()) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => "it has no address".clone_into(&mut last),
            Err(error) => last = error.to_string(),
        }
    }
    Err(format!(
        "the name of the host {host:?}, where the others are to be met, cannot be resolved: {last}; set MASTER_ADDR"
    ))
}

/// The place of a rank among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// From 0.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
}

impl Place {
    /// This rank's share of a batch: every rank has equally many samples, and samples of `all` are taken once more where a
    /// batch does not divide.
    pub fn share(&self, batch: &[usize], all: &[usize]) -> Vec<usize> {
        let each = batch.len().div_ceil(self.size);
        let filled = batch.iter().chain(all.iter().cycle()).copied();
        filled.skip(self.rank * each).take(each).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::Rendezvous;

    #[test]
    fn a_host_that_nobody_knows_is_told_within_seconds() {
        let began = std::time::Instant::now();
        let variables =
            [("RANK", "1"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "no-such-host.invalid"), ("MASTER_PORT", "15001")];
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let launch = launch::find(variable).unwrap().unwrap();
        let error = World::join(&launch, Backend::Gloo).err().unwrap().to_string();
        assert!(error.contains("\"no-such-host.invalid\"") && error.contains("cannot be resolved"), "{error}");
        assert!(began.elapsed().as_secs() < 300, "long before the others are given up");
    }

    #[test]
    fn shares_are_equally_long_and_together_the_batch() {
        let all: Vec<usize> = (0..9).collect();
        let shares: Vec<Vec<usize>> = (0..3).map(|r| Place { rank: r, size: 3 }.share(&[7, 8, 5, 6], &all)).collect();
        assert_eq!(shares, [[7, 8], [5, 6], [0, 1]]);
        assert_eq!(World::single().place().share(&[7, 8, 5], &all), [7, 8, 5]);
    }

    #[test]
    fn a_process_on_its_own_changes_nothing() {
        let world = World::single();
        let rows = Tensor::from_slice(&[1.0f32, 2.0]);
        assert!(world.all_gather(&rows, Compat::Fixed).unwrap().equal(&rows));
        let gradients = world.gradients(std::slice::from_ref(&rows)).unwrap();
        gradients.begin().and_then(|()| gradients.average()).unwrap();
        assert_eq!(world.all_reduce_sum(&[3.0]).unwrap(), [3.0]);
        assert_eq!(world.all_gather_object(vec![(1usize, f64::INFINITY)]).unwrap(), [[(1, f64::INFINITY)]]);
        let error = world.on_rank0(|| Err(TrainError::Needed { name: "x", about: "y" })).unwrap_err();
        assert!(matches!(error, TrainError::Needed { .. }));
    }

    /// Two ranks as threads: `act` gets the world of each.
    fn two_ranks<T: Send + 'static>(act: impl Fn(&World) -> T + Send + Sync + 'static) -> Vec<T> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let act = std::sync::Arc::new(act);
        let ranks = (0..2).map(|rank| {
            let act = act.clone();
            std::thread::spawn(move || {
                let rendezvous = Rendezvous {
                    rank,
                    size: 2,
                    host: "127.0.0.1".to_owned(),
                    port,
                    serves: rank == 0,
                    timeout_s: 60,
                    prefix: "test".to_owned(),
                };
                let group = ProcessGroup::join(&rendezvous, false).unwrap();
                act(&World { place: Place { rank: rank as usize, size: 2 }, group: Some(group) })
            })
        });
        ranks.collect::<Vec<_>>().into_iter().map(|rank| rank.join().unwrap()).collect()
    }

    /// Weights of three buckets (one is larger than a bucket), one that is used twice, one that rank 1 never uses, one that nobody
    /// uses, and one whose gradient comes by a second backward pass within the first, at times once more than before.
    #[test]
    fn gradients_are_means_however_often_they_are_added_to() {
        let passes = two_ranks(|world| {
            let leaf = |size: i64| Tensor::ones([size], (Kind::Float, Device::Cpu)).set_requires_grad(true);
            let weights = [leaf(3), leaf(7_000_000), leaf(2), leaf(2), leaf(4), leaf(5)];
            let gradients = world.gradients(&weights).unwrap();
            let own = world.place.rank as f64 + 1.0;
            let pass = |number: usize| {
                crate::native::zero_grad(&weights).unwrap();
                let [twice, large, on_0, unused, again, last] = &weights;
                _ = unused;
                gradients.begin().unwrap();
                let times = if number == 2 && world.place.rank == 1 { 3 } else { 2 };
                let again = |input: &Tensor| {
                    let (weight, input) = (again.shallow_clone(), input.shallow_clone());
                    let product = move |inputs: &[Tensor]| vec![(&inputs[0] * &weight).sum(Kind::Float)];
                    crate::native::recomputed(&[input], product).unwrap().remove(0)
                };
                let input = twice * own;
                let mut loss = (&input * twice).sum(Kind::Float) + (large * own).sum(Kind::Float);
                for _ in 0..times {
                    loss += again(&(input.sum(Kind::Float) * Tensor::ones([4], (Kind::Float, Device::Cpu))));
                }
                if world.place.rank == 0 {
                    loss += (on_0 * 3.0).sum(Kind::Float);
                }
                (loss + (last * 5.0).sum(Kind::Float)).backward();
                gradients.average().unwrap();
                let first = |weight: &Tensor| weight.grad().defined().then(|| weight.grad().double_value(&[0]));
                weights.iter().map(first).collect::<Vec<_>>()
            };
            (0..4).map(pass).collect::<Vec<_>>()
        });
        assert_eq!(passes[0], passes[1], "all ranks have the same");
        for (number, pass) in passes[0].iter().enumerate() {
            // d/dw of own w^2 and of `times` own (3 w) 4; means over own = 1 and 2.
            let times = if number == 2 { [2.0, 3.0] } else { [2.0, 2.0] };
            let twice = (2.0 + times[0] * 4.0 + 2.0 * (2.0 + times[1] * 4.0)) / 2.0;
            let again = (times[0] * 3.0 + times[1] * 6.0) / 2.0;
            assert_eq!(pass, &[Some(twice), Some(1.5), Some(1.5), None, Some(again), Some(5.0)], "pass {number}");
        }
    }
}
