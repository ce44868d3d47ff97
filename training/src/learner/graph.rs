//! A network as a graph of ONNX, and what lies around it.

use std::collections::BTreeMap;

use egofx::export::Graph;
use toml::Table;

/// A network as a graph, and what a card says of it beside its weights.
pub struct NetworkGraph {
    /// Writes it, by the names of the network's weights.
    pub build: Box<dyn Fn(&mut Graph)>,
    /// How long the named dimensions of its golden input are.
    pub dims: BTreeMap<String, usize>,
    /// What a caller does before the graph.
    pub outside: &'static str,
    /// The settings that `egofx::heads` reads.
    pub settings: Table,
}

impl NetworkGraph {
    /// A graph that `build` writes, with a golden input of `dims`; a caller does what `outside` says, by `settings`.
    pub fn new<S: serde::Serialize, const N: usize>(
        build: impl Fn(&mut Graph) + 'static,
        dims: [(&str, usize); N],
        outside: &'static str,
        settings: &S,
    ) -> Self {
        let dims = dims.into_iter().map(|(name, length)| (name.to_owned(), length)).collect();
        let settings = Table::try_from(settings).expect("a derived Serialize of plain data");
        Self { build: Box::new(build), dims, outside, settings }
    }
}
