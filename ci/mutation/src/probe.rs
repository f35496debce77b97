//! Weaves a probe before every statement and into every arm of a file, so that a campaign tells which of them it runs.

use anyhow::{Context, Result};
use proc_macro2::LineColumn;
use syn::spanned::Spanned;
use syn::visit_mut::VisitMut;
use syn::{Block, Expr, Stmt, parse_quote};

/// A file with its probes in it.
pub(crate) struct Probed {
    pub(crate) text: String,
    /// The line that each probe stands before, in order of their numbers.
    pub(crate) lines: Vec<usize>,
}

/// Weaves probes, numbered from `first` on, into a file's `text`.
pub(crate) fn probe(text: &str, first: u32) -> Result<Probed> {
    let mut file = syn::parse_file(text).context("not Rust")?;
    let mut weaver = Weaver { first, lines: Vec::new() };
    weaver.visit_file_mut(&mut file);
    Ok(Probed { text: prettyplease::unparse(&file), lines: weaver.lines })
}

struct Weaver {
    first: u32,
    lines: Vec<usize>,
}

impl Weaver {
    fn probe(&mut self, at: &impl Spanned) -> Stmt {
        let LineColumn { line, .. } = at.span().start();
        let id = self.first + u32::try_from(self.lines.len()).unwrap_or(u32::MAX);
        self.lines.push(line);
        parse_quote!(crate::mutant::reached(#id);)
    }
}

/// What only a test build compiles.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

impl VisitMut for Weaver {
    fn visit_block_mut(&mut self, block: &mut Block) {
        for mut stmt in std::mem::take(&mut block.stmts) {
            // An item within is run elsewhere, if at all.
            if !matches!(stmt, Stmt::Item(_) | Stmt::Macro(_)) {
                let probe = self.probe(&stmt);
                block.stmts.push(probe);
            }
            syn::visit_mut::visit_stmt_mut(self, &mut stmt);
            block.stmts.push(stmt);
        }
    }

    fn visit_arm_mut(&mut self, arm: &mut syn::Arm) {
        let probe = self.probe(&arm.body);
        syn::visit_mut::visit_arm_mut(self, arm);
        let body: &Expr = &arm.body;
        *arm.body = parse_quote!({ #probe #body });
    }

    fn visit_item_fn_mut(&mut self, function: &mut syn::ItemFn) {
        if function.sig.constness.is_none() {
            syn::visit_mut::visit_item_fn_mut(self, function);
        }
    }

    fn visit_impl_item_fn_mut(&mut self, function: &mut syn::ImplItemFn) {
        if function.sig.constness.is_none() {
            syn::visit_mut::visit_impl_item_fn_mut(self, function);
        }
    }

    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            syn::visit_mut::visit_item_mod_mut(self, module);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::probe;

    #[test]
    fn every_statement_and_arm_that_runs_outside_of_tests_has_a_probe() {
        let text = "fn f() {\n    g();\n    match a {\n        1 => h(),\n        _ => {}\n    }\n}\n\
                    const fn c() { g(); }\n#[cfg(test)]\nmod tests {\n    fn t() { g(); }\n}\n";
        let probed = probe(text, 7).expect("Rust");
        assert_eq!(probed.lines, [2, 3, 4, 5]);
        let woven: String = probed.text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(woven.contains("crate::mutant::reached(7u32); g();"), "{woven}");
        assert!(woven.contains("1 => { crate::mutant::reached(9u32); h() }"), "{woven}");
        assert!(woven.contains("const fn c() { g(); }"), "{woven}");
    }
}
