//! What a file names: the modules of ours and the crates in its `use` trees, inline paths and
//! macros, resolved through `crate`, `self`, `super`, its own `use` aliases and child modules.

use std::collections::HashMap;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, UseTree};

/// One thing that a file names.
#[derive(Debug)]
pub struct Reference {
    pub line: usize,
    pub target: Target,
}

/// What it is, as a path without `crate::`.
#[derive(Debug)]
pub enum Target {
    Ours(String),
    Foreign(String),
    UnsafeCode,
}

/// Everything that `text`, the source of `module`, names. `modules` are all modules that have a
/// file.
pub fn references(text: &str, module: &[String], modules: &[Vec<String>]) -> Vec<Reference> {
    let file = syn::parse_file(text).expect("sources parse");
    let mut reader = Reader {
        modules,
        here: module.to_vec(),
        aliases: HashMap::new(),
        children: Vec::new(),
        found: Vec::new(),
    };
    reader.learn(&file.items);
    reader.visit_file(&file);
    reader.found
}

struct Reader<'a> {
    modules: &'a [Vec<String>],
    /// The module whose items are being read; inline modules lengthen it.
    here: Vec<String>,
    /// Names that `use` brought in, with the path that they stand for.
    aliases: HashMap<String, Vec<String>>,
    /// Modules declared in this file, each as a whole path.
    children: Vec<Vec<String>>,
    found: Vec<Reference>,
}

impl Reader<'_> {
    /// Collects aliases and children before anything is resolved, since items know no order.
    fn learn(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Mod(module) => {
                    let child = join(&self.here, &[module.ident.to_string()]);
                    self.children.push(child);
                }
                Item::Use(item) => {
                    let leaves = leaves(&item.tree).into_iter();
                    self.aliases.extend(leaves.map(|(path, alias, _)| (alias, path)));
                }
                _ => {}
            }
        }
    }

    /// Resolves a written path: a path of ours starts with `crate`, any other with its crate.
    fn resolve(&self, written: &[String]) -> Vec<String> {
        let mut path = written.to_vec();
        // An alias may stand for a path that starts with another alias; a chain is short.
        for _ in 0..4 {
            let Some(first) = path.first() else { return path };
            match self.aliases.get(first) {
                Some(meant) if meant.first() != Some(first) => path = join(meant, &path[1..]),
                _ => break,
            }
        }
        let ours = |base: &[String], rest: &[String]| {
            let mut whole = vec!["crate".to_owned()];
            whole.extend_from_slice(base);
            whole.extend_from_slice(rest);
            whole
        };
        match path.first().map(String::as_str) {
            Some("crate" | "stampd") => ours(&[], &path[1..]),
            Some("self") => ours(&self.here, &path[1..]),
            Some("super") => {
                let up = path.iter().take_while(|part| *part == "super").count();
                let base = &self.here[..self.here.len().saturating_sub(up)];
                ours(base, &path[up..])
            }
            Some(first) => {
                let child = join(&self.here, &[first.to_owned()]);
                if self.children.contains(&child) || self.modules.contains(&child) {
                    ours(&self.here, &path)
                } else {
                    path
                }
            }
            None => path,
        }
    }

    fn record(&mut self, written: &[String], span: Span) {
        let path = self.resolve(written);
        let target = match path.split_first() {
            // The crate's root holds nothing but the modules.
            Some((first, [])) if first == "crate" => return,
            Some((first, rest)) if first == "crate" => Target::Ours(rest.join("::")),
            _ => Target::Foreign(path.join("::")),
        };
        self.found.push(Reference { line: span.start().line, target });
    }

    fn record_unsafe(&mut self, span: Span) {
        self.found.push(Reference { line: span.start().line, target: Target::UnsafeCode });
    }

    /// Macros are tokens to the parser: whatever looks like a path in them is taken for one.
    fn record_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut start = Span::call_site();
        let mut colons = 0;
        for token in tokens {
            let goes_on = colons == 2 && !path.is_empty();
            let colon = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == ':');
            colons = if colon { colons + 1 } else { 0 };
            if !colon && !goes_on {
                self.end_of_path(&mut path, start);
                start = token.span();
            }
            match token {
                TokenTree::Ident(ident) => path.push(ident.to_string()),
                TokenTree::Group(group) => self.record_tokens(group.stream()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
        self.end_of_path(&mut path, start);
    }

    fn end_of_path(&mut self, path: &mut Vec<String>, start: Span) {
        if path.iter().any(|part| part == "unsafe") {
            self.record_unsafe(start);
        } else if path.len() > 1 {
            self.record(path, start);
        }
        path.clear();
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !only_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let Some((_, items)) = &module.content else { return };
        let outer = (self.here.clone(), self.aliases.clone());
        self.here.push(module.ident.to_string());
        self.aliases.clear();
        self.learn(items);
        visit::visit_item_mod(self, module);
        (self.here, self.aliases) = outer;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        for (path, _, span) in leaves(&item.tree) {
            // The path is written out; its first part must not be taken for the alias it makes.
            let aliases = std::mem::take(&mut self.aliases);
            self.record(&path, span);
            self.aliases = aliases;
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // A single name is a local, a type of the prelude, or came by a `use` that is read itself.
        if parts.len() > 1 {
            self.record(&parts, path.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.record_tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.record_unsafe(block.span());
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.unsafety.is_some() {
            self.record_unsafe(item.span());
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        self.record_unsafe(item.span());
        visit::visit_item_foreign_mod(self, item);
    }
}

fn join(base: &[String], rest: &[String]) -> Vec<String> {
    base.iter().chain(rest).cloned().collect()
}

/// The paths of a `use` tree, each with the name that it makes and where it is written.
fn leaves(tree: &UseTree) -> Vec<(Vec<String>, String, Span)> {
    match tree {
        UseTree::Path(path) => {
            let outer = path.ident.to_string();
            let below = leaves(&path.tree).into_iter().map(|(mut parts, mut alias, span)| {
                // `use a::{self}` makes the name `a`.
                if alias == "self" {
                    alias.clone_from(&outer);
                }
                parts.retain(|part| part != "self");
                parts.insert(0, outer.clone());
                (parts, alias, span)
            });
            below.collect()
        }
        UseTree::Name(name) => {
            vec![(vec![name.ident.to_string()], name.ident.to_string(), name.ident.span())]
        }
        UseTree::Rename(rename) => {
            vec![(vec![rename.ident.to_string()], rename.rename.to_string(), rename.ident.span())]
        }
        UseTree::Glob(glob) => vec![(Vec::new(), "*".to_owned(), glob.span())],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[cfg(test)]` and nothing more involved: any other condition is read as code.
fn only_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        Meta::Path(_) | Meta::NameValue(_) => false,
    })
}
