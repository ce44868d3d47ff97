//! What a pickle says, as a tree of plain values: nothing of it is run, and no name in it is looked up.
//!
//! For files of features, which hold one array or a dict around some; weights are `pytorch-reader`'s. A pickle is a program
//! for a machine with a stack; here its calls become [`Node::Call`] with the name that would be called and its arguments,
//! and [`super::saved`] knows the few names that rebuild tensors and arrays. Invariant: no more memory is asked for than a few
//! times the bytes that are there.

use std::collections::HashMap;

use super::tree::{Id, Node, Pickle};

/// Most values of a file; those of features have some dozens.
const MOST_NODES: usize = 1 << 20;

impl Pickle {
    /// Reads the pickle that `bytes` begin with.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut machine = Machine { bytes, at: 0, nodes: vec![], stack: vec![], marks: vec![], memo: HashMap::new() };
        let root = machine.run()?;
        Ok(Self { nodes: machine.nodes, root, length: machine.at })
    }
}

/// The machine that a pickle is a program for.
struct Machine<'b> {
    bytes: &'b [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

type Step<T = ()> = Result<T, String>;

impl<'b> Machine<'b> {
    fn run(&mut self) -> Step<Id> {
        loop {
            let code = self.take(1)?[0];
            if code == b'.' {
                return self.pop();
            }
            if !(self.number(code)? || self.words(code)? || self.container(code)? || self.memory(code)?) {
                self.object(code)?;
            }
            if self.nodes.len() > MOST_NODES {
                return Err(format!("more than {MOST_NODES} values"));
            }
        }
    }

    /// Opcodes of `None`, truth and numbers.
    fn number(&mut self, code: u8) -> Step<bool> {
        let node = match code {
            b'N' => Node::None,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'J' => Node::Int(i32::from_le_bytes(self.array()?).into()),
            b'K' => Node::Int(self.take(1)?[0].into()),
            b'M' => Node::Int(u16::from_le_bytes(self.array()?).into()),
            0x8a => {
                let length = self.take(1)?[0].into();
                long(self.take(length)?)
            }
            0x8b => {
                let length = u32::from_le_bytes(self.array()?) as usize;
                long(self.take(length)?)
            }
            b'G' => Node::Float(f64::from_be_bytes(self.array()?)),
            b'I' => match self.line()? {
                "00" => Node::Bool(false),
                "01" => Node::Bool(true),
                digits => digits.parse().map_or(Node::Other, Node::Int),
            },
            b'L' => self.line()?.trim_end_matches('L').parse().map_or(Node::Other, Node::Int),
            b'F' => self.line()?.parse().map_or(Node::Other, Node::Float),
            _ => return Ok(false),
        };
        self.push(node);
        Ok(true)
    }

    /// Opcodes of strings and bytes.
    fn words(&mut self, code: u8) -> Step<bool> {
        let length: u64 = match code {
            b'T' | b'B' | b'X' => u32::from_le_bytes(self.array()?).into(),
            b'U' | b'C' | 0x8c => self.take(1)?[0].into(),
            0x8d | 0x8e | 0x96 => u64::from_le_bytes(self.array()?),
            b'V' => {
                let text = self.line()?.to_owned();
                self.push(Node::Text(text));
                return Ok(true);
            }
            b'S' => {
                let text = self.line()?.trim_matches(['\'', '"']).to_owned();
                self.push(Node::Bytes(text.into_bytes()));
                return Ok(true);
            }
            _ => return Ok(false),
        };
        let bytes = self.take(usize::try_from(length).map_err(|_| "a string without end".to_owned())?)?;
        let node = match code {
            // Strings of torch's own may hold halves of surrogate pairs, which no Rust string does.
            b'X' | 0x8c | 0x8d => Node::Text(String::from_utf8_lossy(bytes).into_owned()),
            _ => Node::Bytes(bytes.to_vec()),
        };
        self.push(node);
        Ok(true)
    }

    /// Opcodes of tuples, lists and dicts.
    fn container(&mut self, code: u8) -> Step<bool> {
        match code {
            b'(' => self.marks.push(self.stack.len()),
            b')' => self.push(Node::Tuple(vec![])),
            b'}' => self.push(Node::Dict(vec![])),
            b']' | 0x8f => self.push(Node::List(vec![])),
            b't' | b'l' | b'd' | 0x91 => {
                let items = self.since_mark()?;
                self.push(match code {
                    b't' => Node::Tuple(items),
                    b'd' => Node::Dict(pairs(&items)),
                    _ => Node::List(items),
                });
            }
            0x85..=0x87 => {
                let from = self.stack.len().checked_sub(usize::from(code - 0x84)).ok_or_else(empty)?;
                let items = self.stack.split_off(from);
                self.push(Node::Tuple(items));
            }
            b'a' | b's' => {
                let from = self.stack.len().checked_sub(if code == b'a' { 1 } else { 2 }).ok_or_else(empty)?;
                let items = self.stack.split_off(from);
                self.add(&items)?;
            }
            b'e' | b'u' | 0x90 => {
                let items = self.since_mark()?;
                self.add(&items)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Adds items to the list or dict on top of the stack.
    fn add(&mut self, new: &[Id]) -> Step {
        let top = *self.stack.last().ok_or_else(empty)?;
        match &mut self.nodes[top] {
            Node::List(items) => items.extend(new),
            Node::Dict(items) | Node::Call { items, .. } => items.extend(pairs(new)),
            _ => return Err("items that are added to what is no list or dict".to_owned()),
        }
        Ok(())
    }

    /// Opcodes that keep, copy or drop what is on the stack, and those that say nothing.
    fn memory(&mut self, code: u8) -> Step<bool> {
        let key = match code {
            0x80 => return self.take(1).map(|_| true),
            0x95 => return self.take(8).map(|_| true),
            b'0' => return self.pop().map(|_| true),
            b'1' => return self.since_mark().map(|_| true),
            b'2' => {
                let top = *self.stack.last().ok_or_else(empty)?;
                self.stack.push(top);
                return Ok(true);
            }
            0x94 => self.memo.len() as u64,
            b'q' | b'h' => self.take(1)?[0].into(),
            b'r' | b'j' => u32::from_le_bytes(self.array()?).into(),
            b'p' | b'g' => self.line()?.parse().map_err(|_| "a reference that is no number".to_owned())?,
            _ => return Ok(false),
        };
        if matches!(code, b'h' | b'j' | b'g') {
            let known = *self.memo.get(&key).ok_or_else(|| "a reference to nothing".to_owned())?;
            self.stack.push(known);
        } else {
            self.memo.insert(key, *self.stack.last().ok_or_else(empty)?);
        }
        Ok(true)
    }

    /// Opcodes of names and calls.
    fn object(&mut self, code: u8) -> Step {
        let node = match code {
            b'c' => Node::Global(format!("{}.{}", self.line()?, self.line()?)),
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| match &self.nodes[id] {
                    Node::Text(text) => text.clone(),
                    _ => String::new(),
                };
                Node::Global(format!("{}.{}", text(module), text(name)))
            }
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                Node::Call { function, arguments, state: None, items: vec![] }
            }
            b'b' => {
                let state = self.pop()?;
                let top = *self.stack.last().ok_or_else(empty)?;
                if let Node::Call { state: given, .. } = &mut self.nodes[top] {
                    *given = Some(state);
                }
                return Ok(());
            }
            b'Q' => Node::Persistent(self.pop()?),
            b'P' => {
                let text = self.line()?.to_owned();
                self.push(Node::Text(text));
                Node::Persistent(self.pop()?)
            }
            // A call with named arguments.
            0x92 => {
                let (_, _, _) = (self.pop()?, self.pop()?, self.pop()?);
                Node::Other
            }
            b'i' => {
                let (_, _) = (self.line()?, self.line()?);
                self.since_mark()?;
                Node::Other
            }
            b'o' => {
                self.since_mark()?;
                Node::Other
            }
            _ => return Err(format!("the opcode 0x{code:02x} at byte {}", self.at - 1)),
        };
        self.push(node);
        Ok(())
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn pop(&mut self) -> Step<Id> {
        // What stands below a mark is not to be had.
        let floor = self.marks.last().copied().unwrap_or_default();
        if self.stack.len() <= floor {
            return Err(empty());
        }
        self.stack.pop().ok_or_else(empty)
    }

    /// What was pushed after the last mark.
    fn since_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| "an end without a beginning".to_owned())?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn take(&mut self, count: usize) -> Step<&'b [u8]> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| format!("it ends early, at byte {}", self.bytes.len()))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A line of text, without its end.
    fn line(&mut self) -> Step<&'b str> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or_else(|| "a line without end".to_owned())?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| "a line that is no text".to_owned())
    }
}

fn empty() -> String {
    "a value is taken where there is none".to_owned()
}

fn pairs(items: &[Id]) -> Vec<(Id, Id)> {
    items.as_chunks::<2>().0.iter().map(|[key, value]| (*key, *value)).collect()
}

/// A whole number, little-endian in two's complement.
fn long(bytes: &[u8]) -> Node {
    if bytes.len() > 8 {
        return Node::Other;
    }
    let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let mut whole = [fill; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    Node::Int(i64::from_le_bytes(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(bytes: &[u8]) -> Node {
        let pickle = Pickle::read(bytes).unwrap();
        pickle.node(pickle.root).clone()
    }

    #[test]
    fn plain_values_of_every_protocol_are_read() {
        // pickle.dumps(-5, protocol) and so on.
        for bytes in [&b"I-5\n."[..], b"\x80\x02J\xfb\xff\xff\xff.", b"L-5L\n.", b"\x80\x02\x8a\x01\xfb."] {
            assert_eq!(root(bytes), Node::Int(-5), "{bytes:?}");
        }
        assert_eq!(root(b"\x80\x04\x95\x0a\0\0\0\0\0\0\0G?\xf8\0\0\0\0\0\0."), Node::Float(1.5));
        assert_eq!(root(b"\x80\x03C\x02\xff\x00."), Node::Bytes(vec![255, 0]));
        assert_eq!(root(b"\x80\x04\x8c\x02\xc3\xa9\x94."), Node::Text("\u{e9}".into()));
        assert_eq!(root(b"\x80\x02\x8a\x09\0\0\0\0\0\0\0\0\x01."), Node::Other, "2 ** 64");
    }

    #[test]
    fn a_dict_with_shared_values_is_a_tree_of_places() {
        // {"a": [1], "b": the same list}
        let pickle = Pickle::read(b"\x80\x02}(X\x01\0\0\0a]q\x01K\x01aX\x01\0\0\0bh\x01u.").unwrap();
        let entries = pickle.entries(pickle.root).unwrap();
        assert_eq!(entries.iter().map(|(key, _)| pickle.text(*key).unwrap()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(entries[0].1, entries[1].1);
        assert_eq!(pickle.list(entries[0].1).unwrap().iter().map(|id| pickle.int(*id)).collect::<Vec<_>>(), [Some(1)]);
    }

    #[test]
    fn a_call_is_a_name_with_arguments_and_is_not_made() {
        let pickle = Pickle::read(b"cposix\nsystem\n(S'touch owned'\ntR.").unwrap();
        let (name, arguments) = pickle.called(pickle.root).unwrap();
        assert_eq!((name, pickle.text(arguments[0])), ("posix.system", Some("touch owned")));
    }

    #[test]
    fn what_is_no_pickle_or_has_no_end_is_refused_whatever_it_holds() {
        for (bytes, words) in [
            (&b"\x80\x02}"[..], "it ends early"),
            (b"\x80\x02X\xff\xff\xff\xffa.", "it ends early"),
            (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "it ends early"),
            (b"t.", "an end without a beginning"),
            (b".", "a value is taken where there is none"),
            (b"(.", "a value is taken where there is none"),
            (b"h\x05.", "a reference to nothing"),
            (b"K\x01K\x02a.", "items that are added"),
            (b"\xfe", "the opcode 0xfe at byte 0"),
        ] {
            let error = Pickle::read(bytes).unwrap_err();
            assert!(error.contains(words), "{bytes:?}: {error}");
        }
        // Lists within one another, and a list within itself.
        let deep = [vec![b']'; 100_000], vec![b'a'; 99_999], vec![b'.']].concat();
        assert!(Pickle::read(&deep).is_ok());
        assert!(Pickle::read(b"]q\x00h\x00a.").is_ok());
        assert!(Pickle::read(&[vec![b'N'; MOST_NODES + 2], vec![b'.']].concat()).is_err());
    }
}
