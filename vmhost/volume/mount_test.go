package volume

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

const vmContext = "system_u:object_r:svirt_image_t:s0:c1,c2"

func TestNFSData(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.0.2.15"), netip.MustParseAddr("2001:db8::2")
	for _, tt := range []struct {
		server  string
		client  netip.Addr
		context string
		want    string
	}{
		{"10.0.2.2:20049", v4, vmContext,
			`vers=4.2,port=20049,proto=tcp,sec=sys,hard,addr=10.0.2.2,clientaddr=10.0.2.15,context="system_u:object_r:svirt_image_t:s0:c1,c2"`},
		{"[2001:db8::1]:2049", v6, "system_u:object_r:svirt_image_t:s0",
			`vers=4.2,port=2049,proto=tcp6,sec=sys,hard,addr=2001:db8::1,clientaddr=2001:db8::2,context="system_u:object_r:svirt_image_t:s0"`},
		{"10.0.2.2:2049", v6, vmContext, ""},
		{"10.0.2.2:2049", netip.Addr{}, vmContext, ""},
		{"10.0.2.2:2049", v4, "", ""},
		{"10.0.2.2:2049", v4, `u:r:t:s0",sec=none,x="`, ""},
		{"10.0.2.2:2049", v4, "u:r:t:s0:c1,c2\n", ""},
		{"10.0.2.2:2049", v4, "u:r:t:s0-s0:c0.c1023", ""},
		{"[fe80::1%lo]:2049", netip.MustParseAddr("fe80::2%lo"), vmContext, ""},
	} {
		got, err := NFSData(netip.MustParseAddrPort(tt.server), tt.client, tt.context)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("NFSData(%s, %s, %q) = %q, %v; want %q", tt.server, tt.client, tt.context, got, err, tt.want)
		}
	}
}

// serve answers the first connection with reply, after it has read a call.
func serve(t *testing.T, reply func(call []byte) []byte) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		call := make([]byte, 44)
		if _, err := io.ReadFull(conn, call); err != nil {
			return
		}
		if b := reply(call); b != nil {
			conn.Write(b)
			return
		}
		io.Copy(io.Discard, conn)
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// answer is an RPC reply to call with the words after the message type.
func answer(call []byte, words ...uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, lastFragment|uint32(8+4*len(words)))
	b = append(b, call[4:8]...)
	b = binary.BigEndian.AppendUint32(b, rpcReply)
	for _, w := range words {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

func TestProbe(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		reply      func(call []byte) []byte
	}{
		{"NFSv4", "", func(c []byte) []byte { return answer(c, 0, 0, 0, 0) }},
		{"verifier", "", func(c []byte) []byte { return answer(c, 0, 1, 5, 0, 0, 0) }},
		{"NFSv3", "versions 2 to 3, not 4", func(c []byte) []byte { return answer(c, 0, 0, 0, 2, 2, 3) }},
		{"other program", "no NFS on this port", func(c []byte) []byte { return answer(c, 0, 0, 0, 1) }},
		{"denied", "denied", func(c []byte) []byte { return answer(c, 1, 0, 2, 2) }},
		{"huge verifier", "verifier", func(c []byte) []byte { return answer(c, 0, 0, 1<<31, 0) }},
		{"short", "RPC error", func(c []byte) []byte { return answer(c, 0, 0, 0) }},
		{"web server", "no NFS server", func([]byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }},
		{"closes", "EOF", func([]byte) []byte { return []byte{} }},
		{"silent", "no answer", func([]byte) []byte { return nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := serve(t, tt.reply)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			local, err := Probe(ctx, server)
			if tt.want == "" {
				if err != nil || local.String() != "127.0.0.1" {
					t.Errorf("Probe = %s, %v; want 127.0.0.1", local, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), server.String()) {
				t.Errorf("Probe = %v; want %q and %s", err, tt.want, server)
			}
		})
	}
}

func TestMountNFSOfSilentServerEnds(t *testing.T) {
	d := Directory{"127.0.0.1", serve(t, func([]byte) []byte { return nil }), "/e"}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := MountNFS(ctx, d, t.TempDir(), vmContext, false)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
		t.Errorf("MountNFS = %v after %v; want deadline exceeded", err, time.Since(start))
	}
}

// FuzzCheckNull: servers are not trusted with more than an answer.
func FuzzCheckNull(f *testing.F) {
	f.Add(answer(make([]byte, 8), 0, 0, 0, 0)[4:])
	f.Add(answer(make([]byte, 8), 0, 0, 400, 2, 2, 3)[4:])
	f.Fuzz(func(t *testing.T, body []byte) {
		if err := checkNull(0, body); err == nil && len(body) < 24 {
			t.Errorf("checkNull(% x) = nil", body)
		}
	})
}

const mountinfo = `22 1 0:20 / /proc rw shared:5 - proc proc rw
36 22 0:41 / /run/casemate/chamber/v0 rw,nosuid,nodev,noexec,relatime shared:9 master:2 - nfs4 10.0.2.2:/mem/web-1 rw,context="system_u:object_r:svirt_image_t:s0:c1,c2",vers=4.2,addr=10.0.2.2
361 22 0:42 / /a\040b ro - nfs4 [2001:db8::1]:/e\040f ro,context=a:b:c:s0,sec=sys,context=d:e:f:s0
37 22 0:43 / /broken rw
`

func TestFindMount(t *testing.T) {
	m, err := findMount(mountinfo, 36)
	if err != nil || m.fstype != "nfs4" || m.source != "10.0.2.2:/mem/web-1" ||
		m.options["context"] != vmContext || m.options["addr"] != "10.0.2.2" {
		t.Errorf("findMount(36) = %+v, %v", m, err)
	}
	m, err = findMount(mountinfo, 361)
	if err != nil || m.source != "[2001:db8::1]:/e f" || m.options["context"] != "a:b:c:s0" {
		t.Errorf("findMount(361) = %+v, %v; want the first context", m, err)
	}
	for _, id := range []uint64{37, 3, 99} {
		if m, err := findMount(mountinfo, id); err == nil {
			t.Errorf("findMount(%d) = %+v; want an error", id, m)
		}
	}
}

// FuzzFindMount: a server's and a VM's names end up in mountinfo.
func FuzzFindMount(f *testing.F) {
	f.Add(mountinfo)
	f.Add(`36 - nfs4 \04 a="`)
	f.Fuzz(func(t *testing.T, table string) {
		if m, err := findMount(table, 36); err == nil && m.options == nil {
			t.Errorf("findMount(%q) = %+v", table, m)
		}
	})
}

// TestVerifyMountRefuses an ordinary directory: no NFS, no label.
func TestVerifyMountRefuses(t *testing.T) {
	d := Directory{"127.0.0.1", netip.MustParseAddrPort("127.0.0.1:2049"), "/e"}
	if err := verifyMount(d, t.TempDir(), vmContext); err == nil {
		t.Error("verifyMount of a temporary directory = nil")
	}
}

// TestMountNFS mounts a real directory: CASEMATE_NFS names a file in one, on a
// node whose SELinux policy has svirt_image_t, as root.
func TestMountNFS(t *testing.T) {
	name := os.Getenv("CASEMATE_NFS")
	if name == "" {
		t.Skip("CASEMATE_NFS is not set: no NFS server to mount")
	}
	testMountNFS(t, name)
}
