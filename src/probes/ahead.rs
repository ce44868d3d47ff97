//! A source that probes the video that will be asked for next while decoders are at others.
//!
//! Not for videos that lie elsewhere: they are no files here, and who fetches them is another source. Invariants: at most one probe
//! is under way ahead of its time, and at most one result waits; what nobody asks for is dropped without a word; a crash, which says
//! nothing of a file, is nobody's result, and who asks probes again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::Builder;

use crossbeam_channel::{Receiver, bounded};

use super::{Stamp, stamps};
use crate::decode::{FrameSource, FrameStream, ProbeError, Transform, VideoInfo};
use crate::digest;
use crate::time::Fps;

/// Has `inner` probe what is told of by [`FrameSource::prefetch`], on a thread of its own that nobody waits for but who asks for
/// that video.
pub struct AheadSource<S> {
    inner: S,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Lives as long as a probe is under way. Its thread may live on for a moment: who has its result may ask for the next one.
    under_way: Weak<()>,
    next: Option<Next>,
    /// What was told of while a probe was under way: begun with by who takes its result.
    wished: Option<PathBuf>,
}

/// What was, or is being, probed.
struct Next {
    path: PathBuf,
    /// Its files before the probe.
    inputs: Vec<Stamp>,
    probed: Receiver<Result<VideoInfo, ProbeError>>,
}

impl<S: FrameSource + Clone + Send + 'static> AheadSource<S> {
    /// On top of `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner, state: Mutex::default() }
    }

    /// Begins with `path`, unless that is begun, or a probe is under way, behind which it comes.
    fn begin(&self, state: &mut State, path: &Path) -> Option<()> {
        let is_known = state.next.as_ref().is_some_and(|next| next.path == path);
        state.wished = None;
        if is_known {
            return None;
        }
        if state.under_way.strong_count() > 0 {
            state.wished = Some(path.to_owned());
            return None;
        }
        let (inputs, source, path) = (stamps(path)?, self.inner.clone(), path.to_owned());
        let (sender, probed) = bounded(1);
        state.next = Some(Next { path: path.clone(), inputs, probed });
        let under_way = Arc::new(());
        state.under_way = Arc::downgrade(&under_way);
        let work = move || {
            let with_ends = |video: VideoInfo| VideoInfo { ends: digest::ends_of(&video.files()).ok(), ..video };
            let found = source.probe(&path, None).map(with_ends);
            drop(under_way);
            // Nobody may listen any more.
            let _ = sender.send(found);
        };
        // Without threads, who asks probes.
        Builder::new().name("probe".into()).spawn(work).ok().map(drop)
    }

    /// What was found of `path` ahead, if that is still true; waits for it.
    fn found(&self, path: &Path) -> Option<Result<VideoInfo, ProbeError>> {
        let mut state = self.lock();
        state.wished.take_if(|wished| wished == path);
        let next = state.next.take_if(|next| next.path == path)?;
        drop(state);
        let probed = next.probed.recv();
        let mut state = self.lock();
        if let Some(wished) = state.wished.take() {
            self.begin(&mut state, &wished);
        }
        drop(state);
        let probed = probed.ok()?;
        let is_crash = probed.as_ref().is_err_and(ProbeError::is_crash);
        (!is_crash && stamps(path)? == next.inputs).then_some(probed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: FrameSource + Clone + Send + 'static> FrameSource for AheadSource<S> {
    fn probe(&self, path: &Path, fps: Option<Fps>) -> Result<VideoInfo, ProbeError> {
        self.found(path).unwrap_or_else(|| self.inner.probe(path, fps))
    }

    fn prefetch(&self, path: &Path) {
        self.inner.prefetch(path);
        self.begin(&mut self.lock(), path);
    }

    fn forget(&self, path: &Path) {
        let mut state = self.lock();
        state.next.take_if(|next| next.path == path);
        state.wished.take_if(|wished| wished == path);
        drop(state);
        self.inner.forget(path);
    }

    fn open(&self, video: &VideoInfo, wanted: &[u64], transforms: &[Transform]) -> FrameStream {
        self.inner.open(video, wanted, transforms)
    }

    fn dropped(&self, video: &VideoInfo, wanted: &[u64]) -> u64 {
        self.inner.dropped(video, wanted)
    }

    fn version(&self) -> String {
        self.inner.version()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;
    use crate::decode::{Crash, SyntheticSource};

    /// A source that waits before it finds something, for as long as the other end of `gate` lives.
    #[derive(Clone)]
    struct Gated {
        inner: SyntheticSource,
        gate: Receiver<()>,
        probes: Arc<AtomicUsize>,
    }

    impl FrameSource for Gated {
        fn probe(&self, path: &Path, fps: Option<Fps>) -> Result<VideoInfo, ProbeError> {
            self.probes.fetch_add(1, SeqCst);
            let _ = self.gate.recv();
            let crash = Crash::Killed { program: "ffprobe".into(), signal: 9 };
            match path.file_name().unwrap().to_str() {
                Some("bad.mp4") => Err(ProbeError::Empty(path.to_owned())),
                Some("crash.mp4") => Err(ProbeError::Crashed { path: path.to_owned(), crash }),
                _ => self.inner.probe(path, fps),
            }
        }

        fn open(&self, video: &VideoInfo, wanted: &[u64], transforms: &[Transform]) -> FrameStream {
            self.inner.open(video, wanted, transforms)
        }

        fn dropped(&self, _video: &VideoInfo, _wanted: &[u64]) -> u64 {
            0
        }

        fn version(&self) -> String {
            self.inner.version()
        }
    }

    /// A folder with the files that are named, a source, what it waits for, and what it counts.
    fn made(
        files: &[&str],
    ) -> (tempfile::TempDir, AheadSource<Gated>, crossbeam_channel::Sender<()>, Arc<AtomicUsize>) {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|name| fs::write(folder.path().join(name), name).unwrap());
        let ((open, gate), probes) = (bounded(0), Arc::new(AtomicUsize::new(0)));
        let inner = SyntheticSource { frames: 3, fps: Fps::new(30, 1).unwrap() };
        (folder, AheadSource::new(Gated { inner, gate, probes: probes.clone() }), open, probes)
    }

    #[test]
    fn a_probe_goes_on_while_others_work_and_one_at_a_time() {
        let (folder, source, open, probes) = made(&["a.mp4", "b.mp4"]);
        let [a, b] = ["a.mp4", "b.mp4"].map(|name| folder.path().join(name));
        source.prefetch(&a); // and does not wait
        source.prefetch(&b); // while the first one is under way there is no second one
        source.prefetch(&a);
        drop(open);
        let found = source.probe(&a, None).unwrap();
        assert_eq!((found.path, probes.load(SeqCst)), (a.clone(), 1));
        assert_eq!(found.ends, Some(digest::ends(&a).unwrap()));
        assert_eq!((source.probe(&b, None).unwrap().ends, probes.load(SeqCst)), (None, 2), "by who asks");
        source.probe(&a, None).unwrap();
        assert_eq!(probes.load(SeqCst), 3, "a result is handed out once");
    }

    #[test]
    fn who_has_a_result_can_ask_for_the_next_one() {
        let (folder, source, open, _) = made(&["a.mp4", "b.mp4"]);
        drop(open);
        for name in ["a.mp4", "b.mp4"].into_iter().cycle().take(100) {
            let path = folder.path().join(name);
            source.prefetch(&path);
            assert!(source.lock().next.as_ref().is_some_and(|next| next.path == path), "{name} was not begun with");
            source.probe(&path, None).unwrap();
        }
    }

    #[test]
    fn what_is_told_of_while_a_probe_is_under_way_comes_behind_it() {
        let (folder, source, open, probes) = made(&["a.mp4", "b.mp4"]);
        let [a, b] = ["a.mp4", "b.mp4"].map(|name| folder.path().join(name));
        source.prefetch(&a);
        source.prefetch(&b);
        assert!(source.lock().next.as_ref().is_some_and(|next| next.path == a));
        drop(open);
        source.probe(&a, None).unwrap();
        assert!(source.lock().next.as_ref().is_some_and(|next| next.path == b));
        source.probe(&b, None).unwrap();
        assert_eq!(probes.load(SeqCst), 2);
    }

    #[test]
    fn what_crashed_or_is_not_true_any_more_or_was_taken_back_is_probed_anew() {
        let (folder, source, open, probes) = made(&["a.mp4", "bad.mp4", "crash.mp4"]);
        let path = |name: &str| folder.path().join(name);
        drop(open);
        let ahead = |name: &str| {
            source.prefetch(&path(name));
            while source.lock().under_way.strong_count() > 0 {
                std::thread::yield_now();
            }
            probes.store(0, SeqCst);
        };
        ahead("bad.mp4");
        assert_eq!(source.probe(&path("bad.mp4"), None).unwrap_err(), ProbeError::Empty(path("bad.mp4")));
        assert_eq!(probes.load(SeqCst), 0, "it is no video, then as now");
        ahead("crash.mp4");
        assert!(source.probe(&path("crash.mp4"), None).unwrap_err().is_crash());
        assert_eq!(probes.load(SeqCst), 1);
        ahead("a.mp4");
        fs::write(path("a.mp4"), "longer than before").unwrap();
        source.probe(&path("a.mp4"), None).unwrap();
        assert_eq!(probes.load(SeqCst), 1, "it changed");
        ahead("a.mp4");
        source.forget(&path("a.mp4"));
        source.probe(&path("a.mp4"), None).unwrap();
        assert_eq!(probes.load(SeqCst), 1, "nobody was to ask for it");
        source.prefetch(&path("absent.mp4"));
        source.prefetch(Path::new("s3://bucket/a.mp4"));
        assert!(source.lock().next.is_none());
    }
}
