//! Which machine it is: figures of different ones do not belong in one table.

use std::fs;

use moec::cpu::Cpu;

/// What this machine is called where nobody says better: the model of the processor, or the architecture where the
/// system does not tell, and the number of cores.
pub(crate) fn this() -> String {
    called(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default(), &Cpu::detect())
}

fn called(information: &str, cpu: &Cpu) -> String {
    let fields = information.lines().filter_map(|line| line.split_once(':'));
    let mut models = fields.filter(|(field, _)| field.trim() == "model name").map(|(_, model)| model.trim());
    let model = models.find(|model| check(model).is_ok()).unwrap_or(cpu.architecture);
    format!("{model}, {} core{}", cpu.cores, if cpu.cores == 1 { "" } else { "s" })
}

/// Whether a machine can be called that: the name is a heading and part of a file's name.
pub(crate) fn check(name: &str) -> Result<(), String> {
    match slug(name).is_empty() || name.trim() != name || name.chars().any(char::is_control) {
        true => Err(format!("{name:?} is no name of a machine")),
        false => Ok(()),
    }
}

/// The name in letters and digits of file names: `two-zen-4-cores`.
pub(crate) fn slug(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_called_by_model_and_cores() {
        let cpu = |cores| Cpu { architecture: "aarch64", features: Vec::new(), cores };
        let text = "processor\t: 0\nmodel\t\t: 143\nmodel name\t: Some(R) Processor\nmodel name\t: Other\n";
        assert_eq!(called(text, &cpu(2)), "Some(R) Processor, 2 cores");
        assert_eq!(called("processor\t: 0\nBogoMIPS\t: 50.00\n", &cpu(4)), "aarch64, 4 cores");
        assert_eq!(called("model name\t: \n", &cpu(1)), "aarch64, 1 core");
        assert_eq!(check(&this()), Ok(()));
    }

    #[test]
    fn names_are_headings_and_files() {
        assert_eq!(slug("two Zen 4 cores"), "two-zen-4-cores");
        assert_eq!(slug("Some(R) Processor, 2 cores"), "some-r-processor-2-cores");
        for name in ["", "--", " two", "two\ncores"] {
            assert_eq!(check(name), Err(format!("{name:?} is no name of a machine")));
        }
    }
}
