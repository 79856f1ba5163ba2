// SPDX-License-Identifier: MIT
/*
 * The module and its device.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "nvl.h"

static long device_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct nvirt_create_vm create;
	int error;

	switch (command) {
	case NVIRT_GET_VERSION:
		return argument ? -EINVAL : NVIRT_API_VERSION;
	case NVIRT_CREATE_VM:
		error = nvl_copy_in(&create, sizeof(create), argument);
		return error ? error : nvl_vm_create(&create);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations device_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = device_ioctl,
	.compat_ioctl = device_ioctl,
	.llseek = noop_llseek,
};

/* Whoever may open it may run guests, as with /dev/kvm: root, until an udev rule says otherwise. */
static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "nvirt",
	.fops = &device_operations,
	.mode = 0600,
};

int nvl_copy_in(void *to, size_t size, unsigned long from)
{
	void __user *user = (void __user *)from;
	u32 given;
	int error;

	if (get_user(given, (u32 __user *)user))
		return -EFAULT;
	if (given < sizeof(given) || given > PAGE_SIZE)
		return -EINVAL;
	error = copy_struct_from_user(to, size, user, given);
	/* The program may have changed it between the two. */
	*(u32 *)to = given;
	return error;
}

int nvl_copy_out(unsigned long to, void *from, size_t size)
{
	void __user *user = (void __user *)to;
	u32 given = *(u32 *)from;

	return copy_to_user(user, from, min_t(size_t, given, size)) ? -EFAULT : 0;
}

static int __init nvl_init(void)
{
	int error = nvl_cpus_init();

	if (error == -EOPNOTSUPP)
		pr_err("this CPU, or how it is set up, offers nothing that a guest could run on\n");
	if (error)
		return error;
	nvl_debugfs_init();
	error = misc_register(&device);
	if (error) {
		nvl_debugfs_exit();
		nvl_cpus_exit();
	}
	return error;
}

static void __exit nvl_exit(void)
{
	misc_deregister(&device);
	nvl_debugfs_exit();
	nvl_cpus_exit();
}

module_init(nvl_init);
module_exit(nvl_exit);
MODULE_DESCRIPTION("nvirt: virtual machines that may be hypervisors");
MODULE_AUTHOR("The nvirt authors");
MODULE_LICENSE("Dual MIT/GPL");
MODULE_VERSION("0.1.0");
