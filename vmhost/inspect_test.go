package vmhost

import "testing"

func TestListenerInode(t *testing.T) {
	const table = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000003 00000000 00000000 0001 03 1001 /run/x/qmp.sock
0000000000000000: 00000002 00000000 00010000 0001 01 1002 /run/x/qmp.sock
0000000000000000: 00000002 00000000 00010000 0001 01 1003
0000000000000000: 00000002 00000000 00010000 0001 01 1004 /run/y/qmp.sock
`
	for path, want := range map[string]string{"/run/x/qmp.sock": "1002", "/run/y/qmp.sock": "1004", "/run/z": ""} {
		if got := listenerInode(table, path); got != want {
			t.Errorf("listenerInode(%s) = %q; want %q", path, got, want)
		}
	}
}
