//! Parsing. The grammar stands at the head of the crate; every error has a line and a column.

use rustc_hash::FxHashMap;
use std::sync::Arc;

use super::inline;
use super::lex::Cursor;
use crate::attr::{Attr, split_top};
use crate::dim::Dim;
use crate::error::Error;
use crate::graph::{Graph, Loc, Operands, Value};
use crate::literal::Literal;
use crate::module::{Function, FunctionKind, Module};
use crate::op::Stage;
use crate::ops::{Kind, Op};
use crate::requirement::Requirement;
use crate::tensor::Tensor;
use crate::ty::Type;

type Result<T> = std::result::Result<T, Error>;

/// Parses a module whose constants all stand in the text.
pub fn parse(text: &str) -> Result<Module> {
    parse_with(text, &|_, _| None)
}

/// Parses a module; `weights` gives the constants that are not in the text. Types are checked for form
/// only: `verify` tells whether they hold.
pub fn parse_with(text: &str, weights: &dyn Fn(&str, &Type) -> Option<Tensor>) -> Result<Module> {
    let mut p = Parser { cursor: Cursor::new(text), module: Module::default(), weights };
    p.module()?;
    Ok(p.module)
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    module: Module,
    weights: &'a dyn Fn(&str, &Type) -> Option<Tensor>,
}

impl Parser<'_> {
    fn module(&mut self) -> Result<()> {
        let mut first = true;
        while !self.cursor.at_end() {
            let start = self.cursor.position();
            match self.cursor.word() {
                "stage" if first => {
                    let start = self.cursor.position();
                    let word = self.cursor.word();
                    self.module.stage = Stage::parse(word)
                        .ok_or_else(|| self.cursor.error_at(start, format!("no stage `{word}`")))?;
                }
                "require" => self.requirement()?,
                "const" => self.constant()?,
                "graph" => self.function(FunctionKind::Graph)?,
                "kernel" => self.function(FunctionKind::Kernel)?,
                _ => {
                    return Err(self
                        .cursor
                        .error_at(start, "expected `require`, `const`, `graph` or `kernel`"));
                }
            }
            first = false;
        }
        Ok(())
    }

    fn requirement(&mut self) -> Result<()> {
        let left = self.dim()?;
        let right = if self.cursor.eat("==") { self.dim()? } else { left.clone() };
        let loc = self.location()?;
        self.module.requires.push(Requirement { left, right, loc });
        Ok(())
    }

    fn constant(&mut self) -> Result<()> {
        let start = self.cursor.position();
        let key = self.cursor.name('@')?;
        self.cursor.expect(":")?;
        let ty = self.ty()?;
        let tensor = if self.cursor.eat("=") {
            let (at, text) = self.cursor.bracketed('[', ']')?;
            inline::parse(&ty, text).map_err(|e| self.cursor.error_at(at, e))?
        } else {
            (self.weights)(&key, &ty)
                .ok_or_else(|| self.cursor.error_at(start, format!("no data for `@{key}`")))?
        };
        if tensor.ty() != ty {
            let message = format!("the data of `@{key}` is {}, not {ty}", tensor.ty());
            return Err(self.cursor.error_at(start, message));
        }
        match self.module.consts.insert(key.clone(), tensor) {
            None => Ok(()),
            Some(_) => Err(self.cursor.error_at(start, format!("`@{key}` is defined twice"))),
        }
    }

    fn function(&mut self, kind: FunctionKind) -> Result<()> {
        let start = self.cursor.position();
        let symbol = self.cursor.name('@')?;
        let mut body = Body { graph: Graph::default(), names: FxHashMap::default() };
        self.cursor.expect("(")?;
        while self.cursor.peek() != Some(')') {
            let at = self.cursor.position();
            let constant = self.cursor.eat("const");
            let name = self.cursor.name('%')?;
            self.cursor.expect(":")?;
            let ty = self.ty()?;
            let value = match constant {
                true => body.graph.constant_param(&name, ty),
                false => body.graph.param(&name, ty),
            };
            self.define(&mut body, at, name, value)?;
            if !self.cursor.eat(",") {
                break;
            }
        }
        self.cursor.expect(")")?;
        self.cursor.expect("->")?;
        self.cursor.expect("(")?;
        // Results are named before they are defined; they are looked up after the body.
        let mut results = vec![];
        while self.cursor.peek() != Some(')') {
            let at = self.cursor.position();
            let operand = self.operand()?;
            self.cursor.expect(":")?;
            results.push((at, operand, self.ty()?));
            if !self.cursor.eat(",") {
                break;
            }
        }
        self.cursor.expect(")")?;
        self.cursor.expect("{")?;
        while !self.cursor.eat("}") {
            self.statement(&mut body)?;
        }
        let mut outputs = vec![];
        for (at, operand, ty) in results {
            let value = self.resolve(&mut body, at, operand)?;
            let Some(value) = value.filter(|v| *body.graph.ty(*v) == ty) else {
                return Err(self.cursor.error_at(at, format!("the result has another type than {ty}")));
            };
            outputs.push(value);
        }
        body.graph.set_outputs(outputs);
        match self.module.functions.insert(symbol.clone(), Function { kind, graph: body.graph }) {
            None => Ok(()),
            Some(_) => Err(self.cursor.error_at(start, format!("`@{symbol}` is defined twice"))),
        }
    }

    fn statement(&mut self, body: &mut Body) -> Result<()> {
        let mut names = vec![];
        loop {
            let at = self.cursor.position();
            names.push((at, self.cursor.name('%')?));
            if !self.cursor.eat(",") {
                break;
            }
        }
        self.cursor.expect("=")?;
        let op_at = self.cursor.position();
        let mnemonic = self.cursor.word();
        let kind = Kind::parse(mnemonic)
            .ok_or_else(|| self.cursor.error_at(op_at, format!("no op `{mnemonic}`")))?;
        let mut args = Operands::new();
        while !matches!(self.cursor.peek(), Some(':' | '{') | None) {
            let at = self.cursor.position();
            let operand = self.operand()?;
            args.push(self.resolve(body, at, operand)?);
            if !self.cursor.eat(",") {
                break;
            }
        }
        let op = self.attributes(kind)?;
        self.cursor.expect(":")?;
        let mut types = vec![];
        loop {
            types.push(self.ty()?);
            if !self.cursor.eat(",") {
                break;
            }
        }
        if types.len() != names.len() {
            let message = format!("{} results have {} types", names.len(), types.len());
            return Err(self.cursor.error_at(op_at, message));
        }
        let results = names.iter().map(|(_, n)| n.as_str()).zip(types).collect();
        let node = body.graph.insert_named(op, &args, results);
        if let Some(loc) = self.location()? {
            body.graph.set_loc(node, Some(loc));
        }
        for (value, (at, name)) in body.graph.results(node).zip(names) {
            self.define(body, at, name, value)?;
        }
        Ok(())
    }

    fn location(&mut self) -> Result<Option<Loc>> {
        if !self.cursor.eat("loc") {
            return Ok(None);
        }
        self.cursor.expect("(")?;
        let node = self.cursor.string()?;
        self.cursor.expect(",")?;
        let op_type = self.cursor.string()?;
        self.cursor.expect(")")?;
        Ok(Some(Loc { node: Arc::from(node), op_type: Arc::from(op_type) }))
    }

    fn attributes(&mut self, kind: Kind) -> Result<Op> {
        let mut attrs: FxHashMap<&str, &str> = FxHashMap::default();
        let start = self.cursor.position();
        if self.cursor.peek() == Some('{') {
            let (at, text) = self.cursor.bracketed('{', '}')?;
            for part in split_top(&text[1..text.len() - 1]) {
                let Some((key, value)) = part.split_once('=') else {
                    return Err(self.cursor.error_at(at, "attributes are `name=value`"));
                };
                let key = key.trim();
                if !kind.attrs().contains(&key) {
                    let message = format!("`{}` has no attribute `{}`", kind.mnemonic(), key.escape_debug());
                    return Err(self.cursor.error_at(at, message));
                }
                if attrs.insert(key, value.trim()).is_some() {
                    return Err(self.cursor.error_at(at, format!("attribute `{key}` is given twice")));
                }
            }
        }
        kind.with_attrs(&|key| attrs.get(key).map(|v| v.to_string()))
            .map_err(|e| self.cursor.error_at(start, format!("`{}`: {e}", kind.mnemonic())))
    }

    fn operand(&mut self) -> Result<Operand> {
        match self.cursor.peek() {
            Some('%') => Ok(Operand::Value(self.cursor.name('%')?)),
            Some('@') => Ok(Operand::Const(self.cursor.name('@')?)),
            _ => {
                let at = self.cursor.position();
                if self.cursor.eat("_") {
                    return Ok(Operand::Absent);
                }
                let text = self.cursor.literal_text();
                if text.is_empty() {
                    return Err(self.cursor.unexpected("an operand"));
                }
                Literal::parse(text).map(Operand::Literal).map_err(|e| self.cursor.error_at(at, e))
            }
        }
    }

    fn resolve(&mut self, body: &mut Body, at: usize, operand: Operand) -> Result<Option<Value>> {
        Ok(Some(match operand {
            Operand::Absent => return Ok(None),
            Operand::Literal(l) => body.graph.literal(l),
            Operand::Const(key) => match self.module.consts.get(&key) {
                Some(t) => body.graph.constant(&key, t.ty()),
                None => return Err(self.cursor.error_at(at, format!("`@{key}` is not defined"))),
            },
            Operand::Value(name) => match body.names.get(&name) {
                Some(v) => *v,
                None => return Err(self.cursor.error_at(at, format!("`%{name}` is not defined"))),
            },
        }))
    }

    fn define(&mut self, body: &mut Body, at: usize, name: String, value: Value) -> Result<()> {
        if body.names.insert(name.clone(), value).is_some() {
            return Err(self.cursor.error_at(at, format!("`%{name}` is defined twice")));
        }
        Ok(())
    }

    fn dim(&mut self) -> Result<Dim> {
        let (at, text) = self.cursor.dim_text();
        Dim::parse(text).map_err(|e| self.cursor.error_at(at, e))
    }

    fn ty(&mut self) -> Result<Type> {
        let (at, text) = self.cursor.type_text()?;
        Type::parse(text).map_err(|e| self.cursor.error_at(at, e))
    }
}

struct Body {
    graph: Graph,
    names: FxHashMap<String, Value>,
}

enum Operand {
    Value(String),
    Const(String),
    Literal(Literal),
    Absent,
}
