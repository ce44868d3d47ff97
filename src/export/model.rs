//! A backbone as the exporter sees it: its tensors, its graphs and what they cost.
//!
//! Not for the list of models (`models`), nor for writing files. A backbone is exported by implementing [`Exported`]
//! for its config; everything else follows from [`Architecture`].

use super::error::ExportError;
use super::graph::Graph;
use super::options::TokenGrid;
use crate::arch::{Architecture, Differences, ParamSpec, ShapeError, Shapes, strict_differences};
use crate::checkpoint::Checkpoint;
use crate::measure::Measure;

/// A backbone that egofx exports.
pub struct Model {
    /// Its name, with which the names of its graphs begin.
    pub name: &'static str,
    /// Its publication and repository.
    pub about: &'static str,
    /// Tensors that all its checkpoints have, and those of no other model.
    pub signature_tensors: &'static [&'static str],
    /// Tensors that a checkpoint may hold though no graph uses them.
    pub buffers: &'static [&'static str],
    from_shapes: fn(&Shapes, usize) -> Result<Plan, ShapeError>,
    sized: fn(Scale) -> Plan,
    published: fn(Scale) -> Vec<(String, Plan)>,
}

/// What an architecture is exported to.
pub trait Exported: Architecture {
    /// Height and width of the frames that its video graphs take, in pixels.
    fn frame_side(&self) -> usize;

    /// Its graphs.
    fn graphs(&self) -> Vec<GraphPlan>;

    /// The graph of its video tower's tokens, which is made where it is asked for; `None` if it has no such tokens.
    fn tokens(&self) -> Option<TokenPlan> {
        None
    }

    /// How rows of its towers are compared.
    fn measure(&self) -> Measure {
        Measure::Cosine
    }

    /// What its forward passes cost.
    fn costs(&self) -> Vec<Cost>;
}

/// How large a model without a checkpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// As published.
    Full,
    /// For trying things out.
    Tiny,
}

/// What a checkpoint holds and what is made of it.
pub struct Plan {
    /// The name of a model of such sizes.
    pub name: String,
    /// What the names of its graphs and files begin with.
    pub stem: String,
    /// Every tensor.
    pub parameters: Vec<ParamSpec>,
    /// The graphs.
    pub graphs: Vec<GraphPlan>,
    /// What they cost.
    pub costs: Vec<Cost>,
    /// Height and width of the frames that video graphs take, in pixels.
    pub frame_side: usize,
    /// How rows of its towers are compared.
    pub measure: Measure,
    /// The graph that is made only where it is asked for.
    pub tokens: Option<TokenPlan>,
}

/// A graph to be written.
pub struct GraphPlan {
    /// What stands after the model's name and `_`.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Writes it.
    pub build: Box<dyn Fn(&mut Graph)>,
    /// Frames of a window in the golden input.
    pub frames: u32,
    /// Video tokens of a window of so many frames.
    pub num_tokens: usize,
    /// Token ids of its texts are less than this.
    pub vocab_size: usize,
    /// The id that pads its texts.
    pub pad_id: i64,
}

/// The graph of a video tower's tokens.
pub struct TokenPlan {
    /// Patches along a side of a frame.
    pub grid_size: usize,
    /// The graph of maps with so many places along a side, a divisor of `grid_size`.
    pub graph: Box<dyn Fn(usize) -> GraphPlan>,
    /// What it costs.
    pub cost: Cost,
}

/// GraphPrecision for one window.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Cost {
    /// Of what.
    pub what: String,
    /// Multiply-accumulates.
    pub macs: u64,
}

impl Model {
    /// The model of an architecture.
    pub const fn new<A: Exported>() -> Self {
        Self {
            name: A::NAME,
            about: A::ABOUT,
            signature_tensors: A::SIGNATURE_TENSORS,
            buffers: A::BUFFERS,
            from_shapes: |shapes, head_dim| Ok(Plan::of(&A::from_shapes(shapes, head_dim)?)),
            sized: |scale| Plan::of(&if scale == Scale::Full { A::published() } else { A::tiny() }),
            published: |scale| {
                let sized = |[full, tiny]: &[A; 2]| Plan::of(if scale == Scale::Full { full } else { tiny });
                A::models().into_iter().map(|(name, sizes)| (name, sized(&sizes))).collect()
            },
        }
    }

    /// The plan of a model of this kind without a checkpoint, the first of those that are published.
    pub fn sized(&self, scale: Scale) -> Plan {
        (self.sized)(scale)
    }

    /// The published models of this kind without a checkpoint: names and plans.
    pub fn published(&self, scale: Scale) -> Vec<(String, Plan)> {
        (self.published)(scale)
    }

    /// Whether `checkpoint` claims to be of this model, whether or not its tensors fit.
    pub fn detect(&self, checkpoint: &Checkpoint) -> bool {
        self.signature_tensors.iter().all(|name| checkpoint.tensors().contains_key(*name))
    }

    /// The plan of a model of this kind and of the sizes that `checkpoint` has, with attention heads of `head_dim`.
    ///
    /// # Errors
    /// [`ExportError::Shapes`] if no sizes can be read off its tensors.
    pub fn plan(&self, checkpoint: &Checkpoint, head_dim: usize) -> Result<Plan, ExportError> {
        let shapes = Shapes { checkpoint: checkpoint.name(), architecture: self.name, tensors: checkpoint.tensors() };
        Ok((self.from_shapes)(&shapes, head_dim)?)
    }

    /// Where the tensors of `checkpoint` are not those of `plan`.
    pub fn differences(&self, checkpoint: &Checkpoint, plan: &Plan) -> Differences {
        strict_differences(checkpoint.tensors(), &plan.parameters, self.buffers)
    }
}

impl TokenPlan {
    /// The graph for maps as fine as `grid` says.
    ///
    /// # Errors
    /// [`ExportError::TokenGrid`] if the patches cannot be shared out evenly.
    pub fn of(&self, model: &str, grid: TokenGrid) -> Result<GraphPlan, ExportError> {
        let patches = self.grid_size;
        let fits = |places: usize| places > 0 && patches.is_multiple_of(places);
        match grid {
            TokenGrid::Patches => Ok((self.graph)(patches)),
            TokenGrid::Places(places) if fits(places) => Ok((self.graph)(places)),
            TokenGrid::Places(places) => {
                let expected = (1..=patches).filter(|&n| fits(n)).map(|n| n.to_string()).collect();
                Err(ExportError::TokenGrid { model: model.to_owned(), places, patches, expected })
            }
        }
    }
}

impl Plan {
    /// That of an architecture at some size.
    pub fn of<A: Exported>(config: &A) -> Self {
        Self {
            name: config.name(),
            stem: config.name().replace('-', "_"),
            parameters: config.parameters(),
            graphs: config.graphs(),
            costs: config.costs(),
            frame_side: config.frame_side(),
            measure: config.measure(),
            tokens: config.tokens(),
        }
    }

    /// The same with the graph of its tokens.
    ///
    /// # Errors
    /// [`ExportError::NoTokens`], [`ExportError::TokenGrid`].
    pub fn with_tokens(mut self, grid: TokenGrid) -> Result<Self, ExportError> {
        let tokens = self.tokens.take().ok_or_else(|| ExportError::NoTokens { model: self.name.clone() })?;
        self.graphs.push(tokens.of(&self.name, grid)?);
        self.costs.push(tokens.cost);
        Ok(self)
    }

    /// Values in all parameters, running statistics aside.
    pub fn num_parameters(&self) -> usize {
        self.parameters.iter().filter(|spec| !spec.is_buffer()).map(ParamSpec::elements).sum()
    }
}
