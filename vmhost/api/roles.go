package api

import "slices"

// Role is what a caller may do. Each role may do what those before it may.
type Role string

// The roles, as they stand in the OU of a client certificate.
const (
	Viewer   Role = "viewer"   // reads
	Operator Role = "operator" // VMs, their consoles, volumes
	Admin    Role = "admin"    // the node itself
)

// The headers by which the gateway names the caller. It deletes them from what
// comes from outside; whoever else can reach the socket is the node itself.
const (
	HeaderUser = "X-Casemate-User"
	HeaderRole = "X-Casemate-Role"
)

var roles = []Role{Viewer, Operator, Admin}

// ParseRole gives the role of that name, compared exactly.
func ParseRole(name string) (Role, bool) {
	if slices.Contains(roles, Role(name)) {
		return Role(name), true
	}
	return "", false
}

// May tells whether r includes need. An unknown role on either side may nothing.
func (r Role) May(need Role) bool {
	have, want := slices.Index(roles, r), slices.Index(roles, need)
	return want >= 0 && have >= want
}

// roleOf has the least role for each operation. What is not here nobody may do:
// a new operation without a line fails its first test and not an audit.
var roleOf = map[string]Role{
	"get-capabilities": Viewer,
	"list-vms":         Viewer,
	"get-vm":           Viewer,
	"get-node-logs":    Viewer,

	"create-vm":     Operator,
	"delete-vm":     Operator,
	"start-vm":      Operator,
	"shutdown-vm":   Operator,
	"stop-vm":       Operator,
	"reset-vm":      Operator,
	"pause-vm":      Operator,
	"resume-vm":     Operator,
	"console-vm":    Operator,
	"create-volume": Operator,

	"inspect-node":  Admin,
	"query-access":  Admin,
	"probe-vm":      Admin,
	"poweroff-node": Admin,
	"reboot-node":   Admin,
}
