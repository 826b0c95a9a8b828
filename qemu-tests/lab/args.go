package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// args is QEMU's command line, without the program.
func (cfg Config) args() ([]string, error) {
	accel := orDefault(os.Getenv("CASEMATE_ACCEL"), "tcg")
	cpu := "EPYC,+svm,+npt" // AMD: TCG emulates SVM, so that guests in it have KVM
	if accel != "tcg" {
		cpu = "host"
	}
	args := []string{
		"-name", cfg.Name, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-machine", "q35,accel=" + accel, "-cpu", cpu,
		"-smp", strconv.Itoa(orDefault(cfg.CPUs, 2)), "-m", strconv.Itoa(orDefault(cfg.Memory, 4096)),
		"-L", cfg.Tools.Node.Path("usr/share/qemu"), "-L", cfg.Tools.Node.Path("usr/share/seabios"), "-L", cfg.Tools.Node.Path("usr/lib/ipxe/qemu"),
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-chardev", "socket,id=qmp,fd=3", "-mon", "chardev=qmp,mode=control",
		"-object", "rng-random,id=rng0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng0",
	}
	netdev := "user,id=n0"
	for _, port := range cfg.Forward {
		// Host port 0: QEMU takes a free one, and forwards() asks which.
		netdev += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:0-:%d", port)
	}
	boot := ""
	switch {
	case cfg.PXE != "":
		dir, err := filepath.Abs(cfg.PXE)
		if err != nil {
			return nil, err
		}
		netdev += ",tftp=" + strings.ReplaceAll(dir, ",", ",,") + ",bootfile=boot.ipxe"
		boot = ",bootindex=1"
	case cfg.Kernel != "":
		args = append(args, "-kernel", cfg.Kernel, "-append", cfg.Append)
		if cfg.Initrd != "" {
			args = append(args, "-initrd", cfg.Initrd)
		}
	default:
		return nil, errors.New("machine has nothing to boot: set PXE or Kernel")
	}
	args = append(args, "-netdev", netdev, "-device", "virtio-net-pci,netdev=n0"+boot)
	if cfg.NodeConfig != nil {
		file := filepath.Join(cfg.Dir, cfg.Name+".fw_cfg.yaml")
		if err := os.WriteFile(file, cfg.NodeConfig, 0o600); err != nil {
			return nil, err
		}
		args = append(args, "-fw_cfg", "name=opt/casemate/config,file="+strings.ReplaceAll(file, ",", ",,"))
	}
	return append(args, cfg.Args...), nil
}

// hostForward is a line of "info usernet": TCP[HOST_FORWARD] FD ADDR PORT ADDR PORT ...
var hostForward = regexp.MustCompile(`TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)`)

func (m *Machine) forwards(ctx context.Context) (map[int]int, error) {
	var text string
	err := m.monitor.Execute(ctx, "human-monitor-command", map[string]string{"command-line": "info usernet"}, &text)
	if err != nil {
		return nil, err
	}
	ports := map[int]int{}
	for _, f := range hostForward.FindAllStringSubmatch(text, -1) {
		host, _ := strconv.Atoi(f[1])
		guest, _ := strconv.Atoi(f[2])
		ports[guest] = host
	}
	return ports, nil
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
