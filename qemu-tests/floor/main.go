// Command floor is the trivial init of the benchmarks: it says when it started
// and powers the machine off. What a node takes longer than this is its own.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "floor: runs only as the first process of a machine")
		os.Exit(2)
	}
	err := unix.Mount("proc", "/proc", "proc", 0, "")
	uptime, readErr := os.ReadFile("/proc/uptime")
	if err == nil {
		err = readErr
	}
	fmt.Printf("floor: uptime=%s error=%v\n", uptime, err)
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("floor:", err)
	}
	select {}
}
