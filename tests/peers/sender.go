// Sends a number of bytes over TCP with Go's own net package, in pieces that fit no packet, and prints how many it wrote.
// Usage: sender HOST:PORT BYTES
package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"strconv"
)

func main() {
	left, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	connection, err := net.Dial("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	piece, written := make([]byte, 1009), 0
	for left > 0 {
		n, err := connection.Write(piece[:min(left, len(piece))])
		written, left = written+n, left-n
		if err != nil {
			log.Fatal(err)
		}
	}
	if err := connection.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(written)
}
