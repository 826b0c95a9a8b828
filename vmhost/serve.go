package vmhost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"casemate/vmhost/api"
	"casemate/vmhost/qemu"
	"casemate/vmhost/spec"
)

const (
	apiSocket    = "/run/casemate/vmhostd/api.sock"
	gatewayGroup = 900 // the gateway's gid
	powerGrace   = 30 * time.Second
)

// Serve is all of vmhostd. It returns nil after SIGTERM, when the VMs run on,
// and after SIGPWR, when it has taken them down.
func Serve(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	power := make(chan os.Signal, 1)
	signal.Notify(power, syscall.SIGPWR)
	// No time stamps: init, which reads this, adds them.
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))

	node, err := readNodeInfo(spec.NodeInfoPath)
	if err != nil {
		return err
	}
	if err := checkEnforcing(NodePaths.Enforce, node.Permissive); err != nil {
		return err
	}
	if err := qemu.Cgroups(NodePaths.Cgroup).Prepare(); err != nil {
		return fmt.Errorf("cgroup for the VMs: %w", err)
	}
	m := New(node, log)
	if err := m.Adopt(ctx); err != nil {
		log.Error("adopt", "error", err) // the VMs that could be adopted need a manager
	}
	return m.serve(ctx, apiSocket, power)
}

// serve answers the API on the socket until ctx ends or power says that the
// node goes down.
func (m *Manager) serve(ctx context.Context, socket string, power <-chan os.Signal) error {
	listener, err := listenAPI(socket)
	if err != nil {
		return err
	}
	server := api.Serve(m)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	if err := notifyReady(os.Getenv("NOTIFY_FD")); err != nil {
		return err
	}
	m.log.Info("serving", "socket", socket, "vms", len(m.all()))
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", socket, err)
	case <-ctx.Done():
		m.log.Info("leaving; VMs run on")
	case <-power:
		m.log.Info("the node goes down: shutting VMs down")
		m.ShutdownAll(powerGrace)
	}
	// Consoles and followed logs are never done by themselves.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return errors.Join(server.Close())
	}
	return nil
}

func readNodeInfo(path string) (spec.NodeInfo, error) {
	var node spec.NodeInfo
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &node)
	}
	if err != nil {
		return node, fmt.Errorf("node information %s: %w", path, err)
	}
	return node, nil
}

// checkEnforcing refuses to manage VMs on a kernel without SELinux, or a
// permissive one that nobody asked for.
func checkEnforcing(path string, permissive bool) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("SELinux is not there, and no VM starts without: %w", err)
	}
	if len(b) > 0 && b[0] == '1' || permissive {
		return nil
	}
	return fmt.Errorf("%s says %q: the kernel does not enforce, and casemate.permissive=1 is not on its command line", path, b)
}

// listenAPI makes the socket that the gateway alone may open.
func listenAPI(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	old := syscall.Umask(0o117) // 0660 from its first moment
	listener, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(path, 0, gatewayGroup); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// notifyReady tells init, on the descriptor that it named, that we serve.
func notifyReady(fd string) error {
	if fd == "" {
		return nil // not started by init
	}
	n, err := strconv.Atoi(fd)
	if err != nil || n < 3 {
		return fmt.Errorf("NOTIFY_FD=%q is no descriptor", fd)
	}
	f := os.NewFile(uintptr(n), "notify pipe")
	_, err = f.WriteString("ready\n")
	return errors.Join(err, f.Close())
}
