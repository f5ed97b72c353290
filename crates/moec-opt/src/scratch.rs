#[test]
fn scratch() {
    let path = std::env::var("MOIR").unwrap();
    let m = moec_ir::read(&std::fs::read_to_string(path).unwrap()).unwrap();
    let o = crate::optimize(&m, &crate::Options::default()).unwrap();
    println!("{}", moec_ir::print(&o.module));
    println!("fallback {:?} limit {:?} nodes {} it {}", o.report.fallback, o.report.limit, o.report.nodes, o.report.iterations);
    for r in &o.report.fired { println!("  {} {}", r.rule, r.count); }
    if std::env::var("DUMP").is_ok() { println!("{}", crate::egraph_text(&m, &crate::Options::default()).unwrap()); }
}
