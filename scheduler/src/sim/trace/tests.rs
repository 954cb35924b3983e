use std::format;
use std::path::PathBuf;

use super::*;

/// A directory of this test's own, gone at its end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("scheduler-trace-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        for (file, text) in files {
            fs::write(path.join(file), text).unwrap();
        }
        Self(path)
    }

    fn read(&self) -> Result<Vec<Recording>, String> {
        let dir = format!("{}/", self.0.display());
        Recording::read_dir(&self.0, 25_000, &mut |_| {}).map_err(|error| error.to_string().replace(&dir, ""))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // it may be gone, and is only litter
    }
}

const FUNCTIONS: &str = "\
fn,trigger,mem_mb,dur_p0_ms,dur_p1_ms,dur_p25_ms,dur_p50_ms,dur_p75_ms,dur_p99_ms,dur_p100_ms
a,timer,10.5,1,2,3,4,5,6,7
b,http,20,1,1,1,1,1,1,1
";

#[test]
fn the_shipped_traces_are_read_whole() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
    let found = Recording::read_dir(&dir, 25_000, &mut |_| {}).unwrap();
    let sizes: Vec<_> = found
        .iter()
        .map(|recording| recording.trace(Arrivals::Equi, 7))
        .map(|trace| (trace.name.clone(), trace.services.len(), trace.requests()))
        .collect();
    assert_eq!(
        sizes,
        [
            ("azure2019_8h equi".to_string(), 334, 2_669_826),
            ("azure_llm2023_code".to_string(), 1, 8_819),
        ]
    );
}

#[test]
fn requests_of_several_services_are_told_apart_and_sorted_and_other_files_are_named() {
    let text = "t_us,service,mem_mb,duration_ms\n5,x,2,1.5\n3,y,4,1\n1,x,2,2\n";
    let dir = Dir::new("several", &[("own.csv", text), ("notes.csv", "a,b\n1,2\n")]);
    let trace = dir.read().unwrap()[0].trace(Arrivals::Clump, 1);
    let mut skipped = Vec::new();
    Recording::read_dir(&dir.0, 25_000, &mut |other| skipped.push(other.to_string())).unwrap();
    assert_eq!(skipped, [format!("{}/notes.csv has \"a,b\"", dir.0.display())]);
    let [x, y] = &trace.services[..] else {
        panic!("{trace:?}");
    };
    let request = |at_us, runs_us| TracedRequest { at_us, runs_us };
    assert_eq!(x.requests, [request(1, 2_000), request(5, 1_500)]);
    assert_eq!((y.memory_mb, trace.end_us()), (4.0, 5));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 14] = [
        (
            "value",
            &[
                ("x_functions.csv", FUNCTIONS),
                ("x_invocations.csv", "fn,minute,count\na,0,1\nb,-1,2\n"),
            ],
            "x_invocations.csv:3: column minute is \"-1\", must be a whole number from 0",
        ),
        (
            "stranger",
            &[
                ("x_functions.csv", FUNCTIONS),
                ("x_invocations.csv", "fn,minute,count\nc,0,1\n"),
            ],
            "x_invocations.csv:2: column fn is \"c\", must be a function of the other file",
        ),
        (
            "partner",
            &[("x_functions.csv", FUNCTIONS)],
            "x_invocations.csv: no such file, the partner of x_functions.csv",
        ),
        (
            "other-partner",
            &[("x_invocations.csv", "fn,minute,count\na,0,1\n")],
            "x_functions.csv: no such file, the partner of x_invocations.csv",
        ),
        (
            "count",
            &[
                ("x_functions.csv", FUNCTIONS),
                ("x_invocations.csv", "fn,minute,count\na,0,18446744073709551615\n"),
            ],
            "x_invocations.csv:2: column count is \"18446744073709551615\", must be at most 10,000,000 in a minute",
        ),
        (
            "none",
            &[
                ("x_functions.csv", FUNCTIONS),
                ("x_invocations.csv", "fn,minute,count\na,0,0\n"),
            ],
            "x_invocations.csv: no requests",
        ),
        (
            "heading",
            &[("r.csv", "t_us,duration_us\n")],
            "r.csv: no requests",
        ),
        (
            "decimal-comma",
            &[("r.csv", "t_us,duration_ms\n1,2,5\n")],
            "r.csv:2: has 3 fields, must have 2 as line 1 has",
        ),
        (
            "quote",
            &[("r.csv", "t_us,service,duration_ms\n1,\"a,5\n")],
            "r.csv:2: has a quote that is not closed before the next comma or the end of the line",
        ),
        (
            "weightless",
            &[("r.csv", "t_us,duration_ms,mem_mb\n1,2,0\n")],
            "r.csv:2: column mem_mb is \"0\", must be a number above 0",
        ),
        (
            "date",
            &[("r.csv", "t_us,duration_ms\n1700000000000000,2\n")],
            "r.csv:2: column t_us is \"1700000000000000\", \
             must be microseconds from the start of the trace, at most ten years",
        ),
        (
            "column",
            &[("r.csv", "t_us,size\n1,2\n")],
            "r.csv: no column duration_us, duration_ms, duration_s or generated_tokens in \"t_us,size\"",
        ),
        (
            "number",
            &[("r.csv", "t_us,duration_us\n1,NaN\n")],
            "r.csv:2: column duration_us is \"NaN\", must be a number from 0",
        ),
        (
            "short",
            &[("r.csv", "t_us,duration_us\n1\n")],
            "r.csv:2: has 1 field, must have 2 as line 1 has",
        ),
    ];
    for (name, files, expected) in cases {
        assert_eq!(Dir::new(name, files).read().err().as_deref(), Some(expected));
    }
}

#[test]
fn a_directory_without_traces_says_what_was_looked_for() {
    let files = [("notes.txt", "t_us"), ("r.csv", "T_US;duration_ms\n1;2\n")];
    let told = Dir::new("empty", &files).read().unwrap_err();
    let expected = "no *_functions.csv with its *_invocations.csv, and no *.csv with a column t_us; r.csv has \"T_US;duration_ms\"";
    assert!(told.ends_with(expected), "{told}");
}

#[test]
fn quoted_fields_spaces_a_byte_order_mark_and_line_ends_of_windows_are_understood() {
    let text = "\u{feff}\"t_us\", service ,\"duration_ms\"\r\n\r\n1, \"a, \"\"b\"\"\" ,\"2\"\r\n7,c,3";
    let dir = Dir::new("quoted", &[("r.csv", text)]);
    let trace = dir.read().unwrap()[0].trace(Arrivals::Clump, 1);
    let services: Vec<_> = trace
        .services
        .iter()
        .map(|service| (service.name.as_str(), service.requests[0].runs_us))
        .collect();
    assert_eq!(services, [("a, \"b\"", 2_000), ("c", 3_000)]);
}
