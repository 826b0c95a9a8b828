package boot

import "testing"

func TestModprobeName(t *testing.T) {
	for _, tt := range []struct {
		args []string
		ok   bool
	}{
		{[]string{"-q", "--", "fs-nfs"}, true},
		{[]string{"-q", "--", "nfsv4"}, true},
		{[]string{"-q", "--", "net-pf-33"}, false}, // what exploits ask for
		{[]string{"-q", "--", ""}, false},
		{[]string{"fs-nfs"}, false},
		{nil, false},
	} {
		name, err := modprobeName(tt.args)
		if (err == nil) != tt.ok || tt.ok && name != tt.args[2] {
			t.Errorf("modprobeName(%q) = %q, %v; want ok %v", tt.args, name, err, tt.ok)
		}
	}
}
