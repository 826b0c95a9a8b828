package initramfs

import (
	"io/fs"
	"testing"
)

const testContexts = `# comment
/	-d	system_u:object_r:root_t:s0
/.*	system_u:object_r:usr_t:s0
/usr/lib/.*	--	system_u:object_r:lib_t:s0
/usr/lib/modules(/.*)?	system_u:object_r:modules_t:s0
/usr/sbin/casemate-node	--	system_u:object_r:node_exec_t:s0
/usr/lib/x\.so	--	system_u:object_r:x_t:s0
/usr/lib/x.*	--	system_u:object_r:shadowed_t:s0
/proc	<<none>>
`

func TestContexts(t *testing.T) {
	c, err := ParseContexts(testContexts)
	if err != nil {
		t.Fatal(err)
	}
	const file, dir, link = fs.FileMode(0), fs.ModeDir, fs.ModeSymlink
	tests := []struct {
		name string
		mode fs.FileMode
		want string // empty: an error
	}{
		{"/", dir, "system_u:object_r:root_t:s0"},
		{"/usr", dir, "system_u:object_r:usr_t:s0"},
		{"/usr/lib/libc.so.6", file, "system_u:object_r:lib_t:s0"},
		{"/usr/lib/libc.so.6", link, "system_u:object_r:usr_t:s0"},
		{"/usr/lib/modules", dir, "system_u:object_r:modules_t:s0"},
		{"/usr/lib/modules/6.12/kernel/a.ko", file | 0o644, "system_u:object_r:modules_t:s0"},
		{"/usr/sbin/casemate-node", file | 0o755, "system_u:object_r:node_exec_t:s0"},
		{"/usr/sbin/casemate-node2", file, "system_u:object_r:usr_t:s0"},
		{"/usr/lib/x.so", file, "system_u:object_r:x_t:s0"}, // an exact path beats a later pattern
		{"/usr/lib/x2so", file, "system_u:object_r:shadowed_t:s0"},
		{"/proc", dir, ""},
		{"relative", file, ""},
	}
	for _, test := range tests {
		got, err := c.Lookup(test.name, test.mode)
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("Lookup(%s, %v) = %q, %v; want %q", test.name, test.mode, got, err, test.want)
		}
	}
}

func TestParseContextsErrors(t *testing.T) {
	for _, bad := range []string{"/a", "/a -x c", "/a -- b c", "/a( c"} {
		if _, err := ParseContexts(bad); err == nil {
			t.Errorf("ParseContexts(%q): no error; want one", bad)
		}
	}
}

func FuzzContexts(f *testing.F) {
	f.Add(testContexts, "/usr/lib/x")
	f.Fuzz(func(t *testing.T, text, name string) {
		c, err := ParseContexts(text)
		if err != nil {
			return
		}
		if label, err := c.Lookup(name, 0); err == nil && label == "" {
			t.Errorf("Lookup(%q) gives an empty label without an error", name)
		}
	})
}
