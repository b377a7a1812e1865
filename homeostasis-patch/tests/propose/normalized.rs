//! From what a program prints, through the normalizer of errors, to candidates.

use homeostasis::signals::{ErrorNormalizer, ErrorNormalizerConfig};

use super::*;

/// The template of the best candidate for a file and what its program printed.
fn best(file: &str, source: &str, printed: &str) -> String {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join(file);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(&at, source).unwrap();
    let normalizer = ErrorNormalizer::new(&ErrorNormalizerConfig::default()).unwrap();
    let error = normalizer.parse(printed).unwrap();
    let proposal = propose(root.path(), &error);
    let first = proposal.candidates.first();
    first.map_or_else(|| format!("none for {error:?}"), |c| c.template.clone())
}

#[test]
fn what_programs_print_leads_to_candidates() {
    let python = "Traceback (most recent call last):\n  \
        File \"/srv/shop/cart.py\", line 4, in <module>\n    price(None)\n  \
        File \"/srv/shop/cart.py\", line 2, in price\n    return o['price'] * 2\n           ~^^^^^^^^^\n\
        TypeError: 'NoneType' object is not subscriptable\n";
    let source = "def price(o):\n    return o['price'] * 2\n\nprice(None)\n";
    assert_eq!(
        best("shop/cart.py", source, python),
        "python/none-subscript-guard"
    );

    let rust = "\nthread 'main' (7) panicked at src/main.rs:2:7:\n\
        called `Option::unwrap()` on a `None` value\n\
        note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
    let source = "fn f(v: Option<u8>) -> Option<u8> {\n    v.unwrap().checked_add(1)\n}\n";
    assert_eq!(best("src/main.rs", source, rust), "rust/unwrap-none-option");

    let node = "/srv/shop/cart.js:2\n  return u.profile.name;\n                   ^\n\n\
        TypeError: Cannot read properties of undefined (reading 'name')\n    \
        at name (/srv/shop/cart.js:2:20)\n    at Object.<anonymous> (/srv/shop/cart.js:5:1)\n\nNode.js v20.1.0\n";
    let source = "function name(u) {\n  return u.profile.name;\n}\n\nname({});\n";
    assert_eq!(
        best("shop/cart.js", source, node),
        "javascript/optional-property"
    );

    let go = "panic: runtime error: index out of range [3] with length 3\n\ngoroutine 1 [running]:\n\
        main.at(...)\n\t/srv/shop/main.go:4\nmain.main()\n\t/srv/shop/main.go:8 +0x1d\nexit status 2\n";
    let source = "package main\n\nfunc at(v []int, i int) int {\n\treturn v[i]\n}\n\nfunc main() {\n\tat([]int{1, 2, 3}, 3)\n}\n";
    assert_eq!(best("shop/main.go", source, go), "go/index-guard");

    let java = "Exception in thread \"main\" java.lang.ArrayIndexOutOfBoundsException: Index 3 out of bounds for length 3\n\
        \tat com.shop.Cart.at(Cart.java:5)\n\tat com.shop.Cart.main(Cart.java:9)\n";
    let source = "package com.shop;\n\nclass Cart {\n    static int at(int[] v, int i) {\n        return v[i];\n    }\n}\n";
    assert_eq!(
        best("src/main/java/com/shop/Cart.java", source, java),
        "java/array-guard"
    );
}
