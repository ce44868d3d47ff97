//! The values of a pickle, as a tree: what it would build, and which calls it would make for that.
//!
//! Not for reading one, which is [`super::unpickle`]'s. Invariant: values are numbers of places in one list, so that a value
//! that holds itself, or is nested ten thousand deep, costs nothing.

/// The place of a value in [`Pickle::nodes`].
pub(super) type Id = usize;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number of at most 64 bits.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A string.
    Text(String),
    /// Bytes; also the strings of Python 2, which are bytes.
    Bytes(Vec<u8>),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A list or a set.
    List(Vec<Id>),
    /// A dict, in its order.
    Dict(Vec<(Id, Id)>),
    /// A name, `module.name`, of what would be called.
    Global(String),
    /// What a call would give, with what is set on it afterwards.
    Call {
        /// What would be called, a [`Node::Global`].
        function: Id,
        /// Its arguments, a tuple.
        arguments: Id,
        /// The state that it is given then.
        state: Option<Id>,
        /// Items that are set in it, of an `OrderedDict` for instance.
        items: Vec<(Id, Id)>,
    },
    /// Something that stands elsewhere in the file: torch's storages.
    Persistent(Id),
    /// A value that no file of features needs, such as a whole number of more than 64 bits.
    Other,
}

/// The values of a pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    /// All of them; others are named by their places.
    pub nodes: Vec<Node>,
    /// The value as a whole.
    pub root: Id,
    /// Bytes that it took.
    pub length: usize,
}

impl Pickle {
    /// The value at a place.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    /// All values, in the order in which they were made.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// A string.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(text) => Some(text),
            Node::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// A whole number.
    pub fn int(&self, id: Id) -> Option<i64> {
        match self.node(id) {
            Node::Int(value) => Some(*value),
            Node::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    /// The values of a tuple or list, whose class may be one of torch's.
    pub fn list(&self, id: Id) -> Option<&[Id]> {
        let plain = |id: Id| match self.node(id) {
            Node::Tuple(items) | Node::List(items) => Some(items.as_slice()),
            _ => None,
        };
        // torch.Size((3, 4))
        plain(id).or_else(|| match self.called(id)? {
            ("torch.Size", [inner]) => plain(*inner),
            _ => None,
        })
    }

    /// The entries of a dict, whose class may be another one.
    pub fn entries(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.node(id) {
            Node::Dict(entries) => Some(entries),
            Node::Call { items, .. } if self.called(id)?.0 == "collections.OrderedDict" => Some(items),
            _ => None,
        }
    }

    /// What a call calls, and its arguments.
    pub fn called(&self, id: Id) -> Option<(&str, &[Id])> {
        let Node::Call { function, arguments, .. } = self.node(id) else { return None };
        match (self.node(*function), self.node(*arguments)) {
            (Node::Global(name), Node::Tuple(arguments)) => Some((name, arguments)),
            _ => None,
        }
    }

    /// The state that what a call gives is set to.
    pub fn state(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::Call { state: Some(state), .. } => self.list(*state),
            _ => None,
        }
    }
}
