package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// NFSServer is an NFSv4 server on the loopback, as any user, without rpcbind:
// nfs-ganesha with exports in its memory. It keeps the first 2 MiB of each file
// and forgets the rest (FSAL MEM's Inode_Size, at its maximum), which is enough
// for a qcow2 file's metadata and a few clusters: for tests, not for systems.
type NFSServer struct {
	Port    int
	Console *Console // its log

	proc  *process
	links string // directory with a link to the tree
}

// StartNFS starts a server that exports each of the names as /NAME, writable by
// everyone. Its files live in dir.
func StartNFS(ctx context.Context, tools Tools, dir string, exports ...string) (*NFSServer, error) {
	var last error
	for range 5 { // somebody may take the port between our look and its bind
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		s, err := startNFS(ctx, tools, dir, port, exports)
		if err == nil {
			return s, nil
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

func startNFS(ctx context.Context, tools Tools, dir string, port int, exports []string) (*NFSServer, error) {
	recovery := filepath.Join(dir, "ganesha")
	if err := os.MkdirAll(recovery, 0o700); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "ganesha.conf")
	// Owners are plain numbers here, yet without a configured method it does not start.
	idmap := filepath.Join(dir, "idmapd.conf")
	if err := os.WriteFile(idmap, []byte("[General]\nDomain = localdomain\n[Translation]\nMethod = static\n"), 0o600); err != nil {
		return nil, err
	}
	text := ganeshaConf(tools.Trial.Path("usr/lib/x86_64-linux-gnu/ganesha"), recovery, idmap, port, exports)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	log, logW, err := outputPipe()
	if err != nil {
		return nil, err
	}
	cmd := tools.Trial.Command(context.WithoutCancel(ctx), "ganesha.nfsd",
		"-F", "-f", conf, "-L", "STDOUT", "-p", filepath.Join(dir, "ganesha.pid"))
	cmd.Stdout, cmd.Stderr = logW, logW
	// Libraries that it looks for at absolute paths, outside of the tree: one of
	// its own and the plugin for that method. Loaded before, they are found by name.
	// Through a link: a blank in a path would end it (ld.so(8)).
	links, err := os.MkdirTemp("", "casemate-nfs-")
	if err != nil {
		return nil, err
	}
	tree := filepath.Join(links, "tree")
	if err := os.Symlink(tools.Trial.Root, tree); err != nil {
		return nil, err
	}
	preload, _ := filepath.Glob(filepath.Join(tree, "usr/lib/ganesha/libganesha_nfsd.so.*"))
	preload = append(preload, filepath.Join(tree, "usr/lib/x86_64-linux-gnu/libnfsidmap/static.so"))
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+strings.Join(preload, ":"))
	s := &NFSServer{Port: port, links: links}
	s.proc, err = startProcess("nfs-ganesha", cmd)
	logW.Close()
	if err != nil {
		os.RemoveAll(links)
		return nil, err
	}
	s.Console = NewConsole("nfs-ganesha", log, nil)
	if _, err := s.Console.Expect(ctx, `NFS SERVER INITIALIZED`); err != nil {
		s.Stop()
		return nil, fmt.Errorf("start %s: %w", commandLine(cmd), err)
	}
	return s, nil
}

// URL names a file of an export as the machine sees it.
func (s *NFSServer) URL(export, file string) string {
	return fmt.Sprintf("nfs://%s:%d/%s/%s", Gateway, s.Port, export, file)
}

// Stop ends the server; the files are gone with it.
func (s *NFSServer) Stop() {
	s.proc.stop(3 * time.Second)
	os.RemoveAll(s.links)
}

func ganeshaConf(plugins, recovery, idmap string, port int, exports []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `NFS_CORE_PARAM {
	allow_set_io_flusher_fail = true; # it would need CAP_SYS_RESOURCE
	Protocols = 4;
	NFS_Port = %d;
	Bind_addr = 127.0.0.1;
	Enable_NLM = false;
	Enable_RQUOTA = false;
	Plugins_Dir = "%s";
}
NFSv4 {
	Graceless = true;
	Minor_Versions = 1, 2;
	RecoveryBackend = "fs";
	RecoveryRoot = "%s";
	Only_Numeric_Owners = true;
	IdmapConf = "%s";
}
MEM { Inode_Size = 2097152; }
`, port, plugins, recovery, idmap)
	for i, name := range exports {
		fmt.Fprintf(&b, `EXPORT {
	Export_Id = %d;
	Path = "/%[2]s";
	Pseudo = "/%[2]s";
	Access_Type = RW;
	Squash = No_Root_Squash;
	SecType = sys;
	Protocols = 4;
	Transports = TCP;
	FSAL { Name = MEM; }
}
`, i+1, name)
	}
	return b.String()
}

// freePort gives a TCP port of the loopback that is free right now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
