//! Weaves all mutants of a file into it, each behind a switch, so that one build has them all.
//!
//! `a == b` becomes `(if crate::mutant::on(7) { a != b } else { a == b })`, and so on. What a mutant does when it is switched
//! on is what `cargo mutants` would have written.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use proc_macro2::{LineColumn, Span};
use quote::quote;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::visit_mut::VisitMut;
use syn::{Block, Expr, Stmt, parse_quote};

use crate::list::{Genre, Mutant};

/// A file with its mutants in it.
pub(crate) struct Woven {
    pub(crate) text: String,
    /// Where each mutant's own code is in the text, and what of it the compiler may find fault with.
    pub(crate) regions: Vec<Region>,
    /// Those that have no place in the file.
    pub(crate) left_out: Vec<u32>,
}

/// From where to where a mutant's code goes, by line from 1 and column from 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    pub(crate) id: u32,
    pub(crate) start: (usize, usize),
    pub(crate) end: (usize, usize),
}

/// Weaves `mutants`, all of this file, into its `text`.
pub(crate) fn weave(text: &str, mutants: &[&Mutant]) -> Result<Woven> {
    let mut file = syn::parse_file(text).context("not Rust")?;
    let mut weaver = Weaver { pending: BTreeMap::new() };
    for mutant in mutants {
        let pending = weaver.pending.entry((mutant.genre, mutant.at)).or_default();
        pending.push((mutant.id, mutant.replacement.clone()));
    }
    weaver.visit_file_mut(&mut file);
    let text = prettyplease::unparse(&file);
    let mut regions = Regions::default();
    regions.visit_file(&syn::parse_file(&text).context("what was woven is not Rust")?);
    let left_out =
        mutants.iter().map(|m| m.id).filter(|id| !regions.found.iter().any(|region| region.id == *id));
    Ok(Woven { left_out: left_out.collect(), text, regions: regions.found })
}

/// A mutant, and what it puts in the place of what is there.
type Change = (u32, String);

struct Weaver {
    /// By kind, and where what is replaced begins.
    pending: BTreeMap<(Genre, (usize, usize)), Vec<Change>>,
}

fn start(span: Span) -> (usize, usize) {
    let LineColumn { line, column } = span.start();
    (line, column)
}

fn end(span: Span) -> (usize, usize) {
    let LineColumn { line, column } = span.end();
    (line, column)
}

impl Weaver {
    fn take(&mut self, genre: Genre, span: Span) -> Vec<Change> {
        self.pending.remove(&(genre, start(span))).unwrap_or_default()
    }

    fn body(&mut self, found: Vec<Change>, block: &mut Block) {
        for (id, replacement) in found {
            if let Ok(value) = syn::parse_str::<Expr>(&replacement) {
                let switch: Stmt = parse_quote!(if crate::mutant::on(#id) { return #value; });
                block.stmts.insert(0, switch);
            }
        }
    }

    fn of_body(&mut self, block: &Block) -> Vec<Change> {
        block.stmts.first().map(|first| self.take(Genre::FnValue, first.span())).unwrap_or_default()
    }
}

/// Whether the expression is part of a chain of conditions with `let`, which cannot be taken apart.
fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

/// The expression, or another if a mutant is on.
fn switch(id: u32, other: &Expr, expr: &Expr) -> Expr {
    parse_quote!((if crate::mutant::on(#id) { #other } else { #expr }))
}

impl VisitMut for Weaver {
    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        match expr {
            Expr::Binary(binary) => {
                let found = self.take(Genre::BinaryOperator, binary.op.span());
                syn::visit_mut::visit_expr_binary_mut(self, binary);
                if has_let(&Expr::Binary(binary.clone())) {
                    return;
                }
                let original = binary.clone();
                for (id, replacement) in found {
                    let Ok(op) = syn::parse_str(&replacement) else { continue };
                    let other = Expr::Binary(syn::ExprBinary { op, ..original.clone() });
                    *expr = switch(id, &other, expr);
                }
            }
            Expr::Unary(unary) => {
                let found = self.take(Genre::UnaryOperator, unary.op.span());
                syn::visit_mut::visit_expr_unary_mut(self, unary);
                let bare = (*unary.expr).clone();
                for (id, _) in found {
                    *expr = switch(id, &bare, expr);
                }
            }
            Expr::Struct(literal) => {
                let found: Vec<(usize, u32)> = (0..literal.fields.len())
                    .flat_map(|at| {
                        let found = self.take(Genre::StructField, literal.fields[at].span());
                        found.into_iter().map(move |(id, _)| (at, id))
                    })
                    .collect();
                syn::visit_mut::visit_expr_struct_mut(self, literal);
                let original = literal.clone();
                for (without, id) in found {
                    let kept = original.fields.iter().enumerate().filter(|(at, _)| *at != without);
                    let fields = kept.map(|(_, field)| field.clone()).collect();
                    let other = Expr::Struct(syn::ExprStruct { fields, ..original.clone() });
                    *expr = switch(id, &other, expr);
                }
            }
            _ => syn::visit_mut::visit_expr_mut(self, expr),
        }
    }

    fn visit_arm_mut(&mut self, arm: &mut syn::Arm) {
        let deleted = self.take(Genre::MatchArm, arm.span());
        let guards =
            arm.guard.as_ref().map(|(_, g)| self.take(Genre::MatchArmGuard, g.span())).unwrap_or_default();
        syn::visit_mut::visit_arm_mut(self, arm);
        for (id, _) in deleted {
            arm.guard = Some((parse_quote!(if), parse_quote!(!crate::mutant::on(#id))));
        }
        for (id, value) in guards {
            if let Some((_, guard)) = &mut arm.guard {
                **guard = if value == "true" {
                    parse_quote!((crate::mutant::on(#id) || #guard))
                } else {
                    parse_quote!((!crate::mutant::on(#id) && #guard))
                };
            }
        }
    }

    fn visit_item_fn_mut(&mut self, function: &mut syn::ItemFn) {
        let found = self.of_body(&function.block);
        syn::visit_mut::visit_item_fn_mut(self, function);
        self.body(found, &mut function.block);
    }

    fn visit_impl_item_fn_mut(&mut self, function: &mut syn::ImplItemFn) {
        let found = self.of_body(&function.block);
        syn::visit_mut::visit_impl_item_fn_mut(self, function);
        self.body(found, &mut function.block);
    }

    fn visit_trait_item_fn_mut(&mut self, function: &mut syn::TraitItemFn) {
        let Some(block) = &function.default else { return };
        let found = self.of_body(block);
        syn::visit_mut::visit_trait_item_fn_mut(self, function);
        if let Some(block) = &mut function.default {
            self.body(found, block);
        }
    }
}

/// Finds the switches in a text again.
#[derive(Default)]
struct Regions {
    found: Vec<Region>,
}

impl Regions {
    fn add(&mut self, id: u32, span: Span) {
        self.found.push(Region { id, start: start(span), end: end(span) });
    }
}

/// The mutant that a call of the switch is for.
fn switched(call: &syn::ExprCall) -> Option<u32> {
    let Expr::Path(function) = &*call.func else { return None };
    if quote!(#function).to_string() != "crate :: mutant :: on" {
        return None;
    }
    match call.args.first()? {
        Expr::Lit(syn::ExprLit { lit: syn::Lit::Int(id), .. }) => id.base10_parse().ok(),
        _ => None,
    }
}

impl<'ast> Visit<'ast> for Regions {
    fn visit_expr_if(&mut self, expr: &'ast syn::ExprIf) {
        if let Expr::Call(call) = &*expr.cond
            && let Some(id) = switched(call)
        {
            self.add(id, expr.then_branch.span());
        }
        syn::visit::visit_expr_if(self, expr);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        // The switch itself, for an arm that goes or a guard.
        if let Some(id) = switched(call) {
            self.add(id, call.span());
        }
        syn::visit::visit_expr_call(self, call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn woven(text: &str, genre: Genre, at: (usize, usize), replacement: &str) -> String {
        let mutant = Mutant {
            id: 7,
            name: String::new(),
            located: String::new(),
            file: String::new(),
            genre,
            at,
            replacement: replacement.to_owned(),
        };
        let woven = weave(text, &[&mutant]).expect("Rust");
        assert!(woven.left_out.is_empty(), "not woven into {text}");
        woven.text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_kind_of_mutant_stands_behind_its_switch() {
        let on = "crate::mutant::on(7u32)";
        let text = woven("fn f() -> bool { a == b }", Genre::BinaryOperator, (1, 19), "!=");
        assert!(text.contains(&format!("(if {on} {{ a != b }} else {{ a == b }})")), "{text}");
        let text = woven("fn f() -> bool { !a }", Genre::UnaryOperator, (1, 17), "");
        assert!(text.contains(&format!("(if {on} {{ a }} else {{ !a }})")), "{text}");
        let text = woven("fn f() -> u8 { g() }", Genre::FnValue, (1, 15), "1");
        assert!(text.contains(&format!("if {on} {{ return 1; }} g()")), "{text}");
        let text = woven("fn f() { match a { 1 => {}, _ => {} } }", Genre::MatchArm, (1, 19), "");
        assert!(text.contains(&format!("1 if !{on} =>")), "{text}");
        let guarded = "fn f() { match a { 1 if b => {}, _ => {} } }";
        let text = woven(guarded, Genre::MatchArmGuard, (1, 24), "true");
        assert!(text.contains(&format!("1 if ({on} || b) =>")), "{text}");
        let text = woven(guarded, Genre::MatchArmGuard, (1, 24), "false");
        assert!(text.contains(&format!("1 if (!{on} && b) =>")), "{text}");
        let text = woven("fn f() -> S { S { a: 1, ..s } }", Genre::StructField, (1, 18), "");
        assert!(
            text.contains(&format!("(if {on} {{ S {{ ..s }} }} else {{ S {{ a: 1, ..s }} }})")),
            "{text}"
        );
    }

    #[test]
    fn a_condition_with_let_is_not_taken_apart() {
        let text = "fn f() { if a && let Some(b) = c {} }";
        let mutant = Mutant {
            id: 1,
            name: String::new(),
            located: String::new(),
            file: String::new(),
            genre: Genre::BinaryOperator,
            at: (1, 14),
            replacement: "||".to_owned(),
        };
        assert_eq!(weave(text, &[&mutant]).expect("Rust").left_out, [1]);
    }
}
