//! A writer's schema: parsed once, kept as nodes that refer to each other by number, since types may contain themselves.

use std::collections::BTreeMap;

use serde_json::Value;

/// The longest text of a schema.
const SCHEMA_BYTES_MAX: usize = 1024 * 1024;

/// A writer's schema.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    pub(super) nodes: Vec<Node>,
    pub(super) root: usize,
}

/// A type, by how its values are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Null,
    Boolean,
    /// Of 32 or 64 bits, which are written alike; what it is to be divided by to be milliseconds where it is a timestamp.
    Integer(i64),
    /// So many bytes of no use here.
    Opaque(usize),
    /// As many bytes as they begin with, of no use here.
    Bytes,
    Text,
    /// One of these, written as its number.
    Choice(Vec<String>),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record(Vec<(String, usize)>),
}

impl Schema {
    /// Parses a schema, or says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(format!("it has {} bytes, at most {SCHEMA_BYTES_MAX} are allowed", text.len()));
        }
        let value: Value = serde_json::from_str(text).or_else(|error| {
            if is_bare(text) { Ok(Value::from(text)) } else { Err(format!("it is no JSON: {error}")) }
        })?;
        let mut parser = Parser::default();
        let root = parser.node(&value, "")?;
        Ok(Schema { nodes: parser.nodes, root })
    }

    /// The records that a value of this type may be: itself, or those of a union.
    pub(super) fn records_at(&self, node: usize) -> Vec<usize> {
        let is_record = |node: &usize| matches!(self.nodes[*node], Node::Record(_));
        match &self.nodes[node] {
            Node::Union(branches) => branches.iter().copied().filter(is_record).collect(),
            _ => vec![node].into_iter().filter(is_record).collect(),
        }
    }
}

/// Some registries give a schema that is one name without quotes.
fn is_bare(text: &str) -> bool {
    primitive(text).is_some()
}

fn primitive(name: &str) -> Option<Node> {
    Some(match name {
        "null" => Node::Null,
        "boolean" => Node::Boolean,
        "int" | "long" => Node::Integer(1),
        "float" => Node::Opaque(4),
        "double" => Node::Opaque(8),
        "bytes" => Node::Bytes,
        "string" => Node::Text,
        _ => return None,
    })
}

#[derive(Default)]
struct Parser {
    nodes: Vec<Node>,
    named: BTreeMap<String, usize>,
}

impl Parser {
    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// A type within a namespace. As deep as JSON itself, which ends at 128 levels.
    fn node(&mut self, value: &Value, namespace: &str) -> Result<usize, String> {
        match value {
            Value::String(name) => self.by_name(name, namespace),
            Value::Array(branches) => {
                let branches: Result<_, _> = branches.iter().map(|branch| self.node(branch, namespace)).collect();
                Ok(self.add(Node::Union(branches?)))
            }
            Value::Object(_) => self.declared(value, namespace),
            other => Err(format!("{other} is no type")),
        }
    }

    fn by_name(&mut self, name: &str, namespace: &str) -> Result<usize, String> {
        if let Some(node) = primitive(name) {
            return Ok(self.add(node));
        }
        let known = self.named.get(&full_name(name, namespace)).or_else(|| self.named.get(name));
        known.copied().ok_or_else(|| format!("type `{name}` is not declared"))
    }

    fn declared(&mut self, value: &Value, namespace: &str) -> Result<usize, String> {
        let kind = match &value["type"] {
            Value::String(kind) => kind.as_str(),
            // A type may be wrapped in an object.
            inner => return self.node(inner, namespace),
        };
        match kind {
            "record" | "error" => {
                let (number, namespace) = self.declare(value, namespace)?;
                let fields = value["fields"].as_array().ok_or("a record has no fields")?;
                let mut read: Vec<(String, usize)> = Vec::with_capacity(fields.len());
                for field in fields {
                    let name = text_of(field, "name")?;
                    if read.iter().any(|(known, _)| known == name) {
                        return Err(format!("field `{name}` occurs twice"));
                    }
                    read.push((name.to_owned(), self.node(&field["type"], &namespace)?));
                }
                self.nodes[number] = Node::Record(read);
                Ok(number)
            }
            "enum" => {
                let (number, _) = self.declare(value, namespace)?;
                let symbols = value["symbols"].as_array().ok_or("an enum has no symbols")?;
                let symbols = symbols.iter().map(|symbol| symbol.as_str().map(str::to_owned));
                self.nodes[number] = Node::Choice(symbols.collect::<Option<_>>().ok_or("a symbol is no string")?);
                Ok(number)
            }
            "fixed" => {
                let (number, _) = self.declare(value, namespace)?;
                let bytes = value["size"].as_u64().and_then(|bytes| usize::try_from(bytes).ok());
                self.nodes[number] = Node::Opaque(bytes.ok_or("a fixed type has no size")?);
                Ok(number)
            }
            "array" => {
                let items = self.node(&value["items"], namespace)?;
                Ok(self.add(Node::Array(items)))
            }
            "map" => {
                let values = self.node(&value["values"], namespace)?;
                Ok(self.add(Node::Map(values)))
            }
            "long" => {
                let divisor = match value["logicalType"].as_str() {
                    Some("timestamp-micros" | "local-timestamp-micros") => 1_000,
                    Some("timestamp-nanos" | "local-timestamp-nanos") => 1_000_000,
                    _ => 1,
                };
                Ok(self.add(Node::Integer(divisor)))
            }
            other => self.by_name(other, namespace),
        }
    }

    /// Gives a named type its number before its parts are read, so that they may refer to it; also its namespace.
    fn declare(&mut self, value: &Value, namespace: &str) -> Result<(usize, String), String> {
        let name = text_of(value, "name")?;
        let full = match value["namespace"].as_str() {
            Some(own) if !name.contains('.') => full_name(name, own),
            _ => full_name(name, namespace),
        };
        let own = full.rsplit_once('.').map_or("", |(own, _)| own).to_owned();
        let number = self.add(Node::Null);
        match self.named.insert(full, number) {
            None => Ok((number, own)),
            Some(_) => Err(format!("type `{name}` is declared twice")),
        }
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if namespace.is_empty() || name.contains('.') { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn text_of<'a>(value: &'a Value, key: &str) -> Result<&'a str, String> {
    value[key].as_str().ok_or_else(|| format!("{value} has no `{key}`"))
}
