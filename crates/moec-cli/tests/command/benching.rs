//! `moec bench`: its figures belong together, whatever the clock says.

use serde_json::Value;

use crate::moec::Folder;

const SOURCE: &str = "model m {
    dim T, H = 32, F = 16, E = 8, K = 2
    input  x      : f32[T, H]
    weight router : f32[E, H]    from \"router\"
    weight w      : f32[E, F, H] from \"w.{E}\"
    let p = softmax(x @ router.T, over E)
    let g = p where top_k(p, K, over E).mask else 0
    output y : f32[T, F] = sum e over E { g[e] * (x @ w[e].T) }
}
";

#[test]
fn figures_belong_together() {
    let folder = Folder::with("m.moe", SOURCE);
    let ended =
        folder.moec(&["bench", "m.moe", "--tokens", "1,50", "--threads", "1", "--rounds", "2", "--json"]);
    let figures: Value = serde_json::from_str(&ended.expect(0).out).unwrap();
    assert_eq!((&figures["model"], &figures["rounds"]), (&"m".into(), &2.into()));
    let rows = figures["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["tokens"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 50]);
    for row in rows {
        let of = |name: &str| row[name].as_f64().unwrap();
        let tokens = of("tokens");
        assert!(of("least_ms") <= of("ms") && of("ms") <= of("most_ms"));
        // The router, and two of the experts for each token.
        let flops = 2.0 * tokens * 32.0 * (8.0 + 2.0 * 16.0);
        assert!((of("gflops") * of("ms") * 1e6 / flops - 1.0).abs() < 1e-9, "{row}");
        // One token reads two experts; of fifty, every expert has some.
        let experts = if tokens == 1.0 { 2.0 } else { 8.0 };
        let bytes = 4.0 * (8.0 * 32.0 + experts * 16.0 * 32.0);
        assert!((of("gbytes") * of("ms") * 1e6 / bytes - 1.0).abs() < 1e-9, "{row}");
        let limit = (bytes / of("probe_gbytes")).max(flops / of("probe_gflops")) / 1e6;
        assert!((of("limit_ms") / limit - 1.0).abs() < 1e-9, "{row}");
        assert!((of("of_limit") - 100.0 * limit / of("ms")).abs() < 1e-6, "{row}");
    }
}

#[test]
fn steps_share_the_time_of_a_call() {
    let folder = Folder::with("m.moe", SOURCE);
    let plan = folder.moec(&["opt", "m.moe", "--emit", "plan"]).expect(0).out;
    let ended = folder.moec(&["bench", "m.moe", "--tokens", "1,50", "--rounds", "1", "--steps", "--json"]);
    let figures: Value = serde_json::from_str(&ended.expect(0).out).unwrap();
    for row in figures["rows"].as_array().unwrap() {
        let steps = row["steps"].as_array().unwrap();
        assert!(steps.len() > 3, "{row}");
        let sum = |name: &str| steps.iter().map(|step| step[name].as_f64().unwrap()).sum::<f64>();
        assert!((sum("share") - 100.0).abs() < 1e-6, "{row}");
        for step in steps {
            let share = 100.0 * step["ms"].as_f64().unwrap() / sum("ms");
            assert!((step["share"].as_f64().unwrap() - share).abs() < 1e-6, "{row}");
            for name in step["steps"].as_array().unwrap() {
                assert!(plan.contains(&format!(" {}: ", name.as_str().unwrap())), "{name} in {plan}");
            }
        }
    }
    let ended = folder.moec(&["bench", "m.moe", "--tokens", "50,1", "--rounds", "1", "--steps"]).expect(0);
    let order = ["\n      50 ", "\n       1 ", "steps, 50 tokens", "steps, 1 tokens"];
    let places: Vec<_> = order.iter().map(|text| ended.out.find(text).unwrap()).collect();
    assert!(places.is_sorted(), "{}", ended.out);
}

#[test]
fn what_cannot_be_timed_is_refused() {
    let folder = Folder::with("m.moe", SOURCE);
    folder.moec(&["bench", "m.moe", "--rounds", "0"]).expect(2);
    folder.moec(&["bench", "m.moe", "--tokens", "many"]).expect(2);
    folder.moec(&["bench", "gone.moe"]).refused(&["gone.moe"]);
    folder.moec(&["bench", "m.moe", "--weights", "gone.safetensors"]).refused(&["gone.safetensors"]);
}
