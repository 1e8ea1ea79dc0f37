//! One source file, read by `syn`: its modules with their imports and the paths that they name,
//! its keywords, and the names that it defines.
//!
//! Code that only tests have (`#[cfg(test)]`, `#[test]`) gives definitions, but no paths, no
//! imports and no keywords. Not seen: which type a method belongs to, and which trait's
//! implementation a call ends in; of `macro_rules!` only what their bodies spell out.

use std::collections::HashMap;

use proc_macro2::Span;
use syn::{
    Attribute, Block, Expr, ImplItem, Item, ItemMod, Local, Meta, Path, Stmt, TraitItem,
    ext::IdentExt as _, visit, visit::Visit,
};

use super::{
    Source,
    attributes::{file_of, is_only_for_tests, of_item},
    file::{Child, Definition, File, Function, Keyword, Kind, Module, Reference},
    imports::bring_into_block,
    tokens,
};

impl File {
    /// Reads a source. Panics with the place where it is no Rust.
    pub(crate) fn read(source: &Source) -> Self {
        let parsed = syn::parse_file(&source.text).unwrap_or_else(|error| {
            let line = error.span().start().line;
            panic!("{}:{line}: {error}", source.path)
        });
        let mut scan = Scan {
            file: Self {
                path: source.path.clone(),
                text: source.text.clone(),
                modules: vec![Module::default()],
                definitions: Vec::new(),
                functions: Vec::new(),
                test_modules: Vec::new(),
            },
            current: 0,
            test_depth: usize::from(is_only_for_tests(&parsed.attrs)),
            local_imports: Vec::new(),
        };
        visit::visit_file(&mut scan, &parsed);
        scan.file
    }
}

/// Goes through one file.
pub(crate) struct Scan {
    file: File,
    /// The module that the visitor is in.
    current: usize,
    /// Above 0: in code that only tests have.
    pub(super) test_depth: usize,
    /// Imports of the blocks around the visitor, innermost last.
    pub(super) local_imports: Vec<HashMap<String, Vec<String>>>,
}

impl Scan {
    pub(super) fn module(&mut self) -> &mut Module {
        &mut self.file.modules[self.current]
    }

    /// Notes that the current module names `path`.
    pub(crate) fn refer(&mut self, path: Vec<String>, line: usize) {
        if self.test_depth > 0 || path.first().is_none_or(|first| first == "Self") {
            return;
        }
        let import = self
            .local_imports
            .iter()
            .rev()
            .find_map(|names| names.get(&path[0]));
        let path = match import {
            Some(import) => [import, &path[1..]].concat(),
            None => path,
        };
        self.module().references.push(Reference {
            path,
            line,
            is_glob: false,
        });
    }

    pub(crate) fn keyword(&mut self, keyword: Keyword, span: Span) {
        if self.test_depth == 0 {
            self.module().keywords.push((keyword, span.start().line));
        }
    }

    pub(crate) fn method(&mut self, name: String, line: usize) {
        if self.test_depth == 0 {
            self.module().methods.push((name, line));
        }
    }

    /// Notes code whose names no wall can see.
    pub(crate) fn hide(&mut self, what: &'static str, line: usize) {
        if self.test_depth == 0 {
            self.module().hidden.push((what, line));
        }
    }

    fn define(&mut self, kind: Kind, ident: &syn::Ident) {
        let name = ident.unraw().to_string();
        let line = ident.span().start().line;
        self.file.definitions.push(Definition { kind, name, line });
    }

    fn function(&mut self, signature: &syn::Signature, body: &Block) {
        if self.test_depth == 0 {
            let line = signature.ident.span().start().line;
            self.file.functions.push(Function {
                name: signature.ident.unraw().to_string(),
                line,
                lines: body.brace_token.span.close().end().line - line + 1,
            });
        }
    }

    /// Runs `visit` as within code of tests, if the attributes make it that.
    fn under(&mut self, attributes: &[Attribute], visit: impl FnOnce(&mut Self)) {
        let depth = usize::from(is_only_for_tests(attributes));
        self.test_depth += depth;
        visit(self);
        self.test_depth -= depth;
    }

    fn module_item(&mut self, item: &ItemMod) {
        self.define(Kind::Module, &item.ident);
        let name = item.ident.unraw().to_string();
        let is_test = self.test_depth > 0;
        let Some((brace, items)) = &item.content else {
            let file = item.attrs.iter().find_map(file_of);
            self.module().children.push(Child {
                name,
                file,
                is_test,
            });
            return;
        };
        if is_test && is_only_for_tests(&item.attrs) {
            let first = item.attrs[0].pound_token.span.start().line;
            let last = brace.span.close().end().line;
            self.file.test_modules.push((first, last));
        }
        let within = Some(self.current);
        self.file.modules.push(Module {
            within,
            name,
            is_test,
            ..Module::default()
        });
        let outside = std::mem::replace(&mut self.current, self.file.modules.len() - 1);
        let local_imports = std::mem::take(&mut self.local_imports);
        for item in items {
            self.visit_item(item);
        }
        self.local_imports = local_imports;
        self.current = outside;
    }

    /// Notes the name of an item of a module or of a block.
    fn item_name(&mut self, item: &Item) {
        let (kind, ident) = match item {
            Item::Const(item) => (Kind::Constant, &item.ident),
            Item::Static(item) => (Kind::Constant, &item.ident),
            Item::Enum(item) => (Kind::Type, &item.ident),
            Item::Struct(item) => (Kind::Type, &item.ident),
            Item::Trait(item) => (Kind::Type, &item.ident),
            Item::TraitAlias(item) => (Kind::Type, &item.ident),
            Item::Type(item) => (Kind::Type, &item.ident),
            Item::Union(item) => (Kind::Type, &item.ident),
            Item::Fn(item) => (Kind::Function, &item.sig.ident),
            Item::Macro(syn::ItemMacro {
                ident: Some(ident), ..
            }) => (Kind::Function, ident),
            _ => return,
        };
        self.define(kind, ident);
        if self.local_imports.is_empty() && self.test_depth == 0 {
            let name = ident.unraw().to_string();
            self.module().items.push(name);
        }
    }
}

impl<'ast> Visit<'ast> for Scan {
    fn visit_item(&mut self, item: &'ast Item) {
        self.under(of_item(item), |scan| {
            scan.item_name(item);
            if let Item::Use(item) = item {
                visit::visit_use_tree(scan, &item.tree);
            }
            match item {
                Item::Use(item) if scan.local_imports.is_empty() => {
                    scan.use_item(item, &mut |scan, import| scan.module().imports.push(import));
                }
                // A block has noted its imports already.
                Item::Use(_) => {}
                Item::Mod(item) => scan.module_item(item),
                Item::ExternCrate(item) => {
                    scan.hide("`extern crate`", item.extern_token.span.start().line);
                }
                _ => visit::visit_item(scan, item),
            }
        });
    }

    fn visit_block(&mut self, block: &'ast Block) {
        self.local_imports.push(HashMap::new());
        for statement in &block.stmts {
            if let Stmt::Item(Item::Use(item)) = statement {
                self.under(&item.attrs, |scan| {
                    scan.use_item(item, &mut bring_into_block);
                });
            }
        }
        visit::visit_block(self, block);
        self.local_imports.pop();
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let (attributes, name): (&[Attribute], _) = match item {
            ImplItem::Const(item) => (&item.attrs, Some((Kind::Constant, &item.ident))),
            ImplItem::Fn(item) => (&item.attrs, Some((Kind::Function, &item.sig.ident))),
            ImplItem::Type(item) => (&item.attrs, Some((Kind::Type, &item.ident))),
            _ => (&[], None),
        };
        self.under(attributes, |scan| {
            if let Some((kind, ident)) = name {
                scan.define(kind, ident);
            }
            visit::visit_impl_item(scan, item);
        });
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        match item {
            TraitItem::Const(item) => self.define(Kind::Constant, &item.ident),
            TraitItem::Fn(item) => self.define(Kind::Function, &item.sig.ident),
            TraitItem::Type(item) => self.define(Kind::Type, &item.ident),
            _ => {}
        }
        visit::visit_trait_item(self, item);
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.define(Kind::Variant, &variant.ident);
        self.under(&variant.attrs, |scan| visit::visit_variant(scan, variant));
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if let Some(ident) = &field.ident {
            self.define(Kind::Field, ident);
        }
        self.under(&field.attrs, |scan| visit::visit_field(scan, field));
    }

    fn visit_field_value(&mut self, field: &'ast syn::FieldValue) {
        self.under(&field.attrs, |scan| visit::visit_field_value(scan, field));
    }

    fn visit_local(&mut self, local: &'ast Local) {
        self.under(&local.attrs, |scan| visit::visit_local(scan, local));
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        self.under(&arm.attrs, |scan| visit::visit_arm(scan, arm));
    }

    fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
        self.define(Kind::Variable, &pattern.ident);
        visit::visit_pat_ident(self, pattern);
    }

    fn visit_use_rename(&mut self, rename: &'ast syn::UseRename) {
        self.define(Kind::Import, &rename.rename);
    }

    fn visit_type_param(&mut self, parameter: &'ast syn::TypeParam) {
        self.define(Kind::Type, &parameter.ident);
        visit::visit_type_param(self, parameter);
    }

    fn visit_const_param(&mut self, parameter: &'ast syn::ConstParam) {
        self.define(Kind::Constant, &parameter.ident);
        visit::visit_const_param(self, parameter);
    }

    fn visit_path(&mut self, path: &'ast Path) {
        self.refer(parts(path), line_of(path));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        self.visit_path(&invocation.path);
        if path_ends_in_include(&invocation.path) {
            self.hide("`include!`", line_of(&invocation.path));
        }
        tokens::scan(self, invocation.tokens.clone(), false);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        let path = attribute.path();
        if path.segments.len() > 1 {
            self.refer(parts(path), line_of(path));
        }
        match &attribute.meta {
            Meta::List(list) => {
                tokens::scan(self, list.tokens.clone(), path.is_ident("serde"));
            }
            Meta::NameValue(pair) if !path.is_ident("doc") => self.visit_expr(&pair.value),
            _ => {}
        }
    }

    /// A visibility names a module without using anything of it.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_expr(&mut self, expression: &'ast Expr) {
        match expression {
            Expr::Async(of) => self.keyword(Keyword::Async, of.async_token.span),
            Expr::Await(of) => self.keyword(Keyword::Await, of.await_token.span),
            Expr::Unsafe(of) => self.keyword(Keyword::Unsafe, of.unsafe_token.span),
            Expr::Closure(of) => {
                if let Some(token) = &of.asyncness {
                    self.keyword(Keyword::Async, token.span);
                }
            }
            Expr::MethodCall(of) => {
                self.method(of.method.unraw().to_string(), of.method.span().start().line);
            }
            _ => {}
        }
        visit::visit_expr(self, expression);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if let Some(token) = &signature.asyncness {
            self.keyword(Keyword::Async, token.span);
        }
        visit::visit_signature(self, signature);
    }

    fn visit_safety(&mut self, safety: &'ast syn::Safety) {
        if let syn::Safety::Unsafe(token) = safety {
            self.keyword(Keyword::Unsafe, token.span);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(token) = &item.unsafety {
            self.keyword(Keyword::Unsafe, token.span);
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if let Some(token) = &item.unsafety {
            self.keyword(Keyword::Unsafe, token.span);
        }
        visit::visit_item_trait(self, item);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        if let Some(token) = &item.unsafety {
            self.keyword(Keyword::Unsafe, token.span);
        }
        visit::visit_item_foreign_mod(self, item);
    }
}

fn parts(path: &Path) -> Vec<String> {
    let leading = path.leading_colon.as_ref().map(|_| "::".to_owned());
    let names = path
        .segments
        .iter()
        .map(|part| part.ident.unraw().to_string());
    leading.into_iter().chain(names).collect()
}

fn path_ends_in_include(path: &Path) -> bool {
    let last = path.segments.last();
    last.is_some_and(|last| last.ident == "include")
}

fn line_of(path: &Path) -> usize {
    path.segments
        .first()
        .map_or(0, |part| part.ident.span().start().line)
}
