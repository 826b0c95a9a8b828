package spec

// Version is casemate's own, of the tool and of the node.
const Version = "0.1.0"
