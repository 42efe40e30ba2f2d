"""Rule by rule: each rule of its own inside a function, compared with its plain function at the inputs that it gets."""
